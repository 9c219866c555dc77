"""Who may open a live connection, and with what options."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor

from sandbox import errors, faults, query
from sandbox.credentials import Credentials
from sandbox.engines import Engine
from sandbox.errors import DeepgramError
from sandbox.faults import BadFault, Fault
from sandbox.live.connection import Connection
from sandbox.live.journal import Entry, StreamJournal
from sandbox.live.noise import Noise
from sandbox.messages import Answer, Receive, Request, Scope, Send
from sandbox.misbehaviour import refusal

logger = logging.getLogger(__name__)

SILENCE_SECONDS = 10.0
"""Without audio or a message for so long, a connection is closed (NET-0001)."""


class Live:
    def __init__(
        self,
        engine: Engine,
        threads: Executor,
        credentials: Credentials,
        fault_of: Callable[[Request], Fault | None],
        *,
        max_streams: int = 0,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        self.journal = StreamJournal()
        self.noise: Noise | None = None
        """For connections opened from now on."""
        self._engine = engine
        self._threads = threads
        self._credentials = credentials
        self._fault_of = fault_of
        self._max_streams = max_streams
        self._silence_seconds = silence_seconds

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One WebSocket, from its handshake to its end."""
        await receive()
        request = Request(scope, receive)
        entry = Entry(request.id, request.query, asyncio.get_running_loop().time())
        try:
            connection = await self._admit(request, entry, scope, send)
        except DeepgramError as error:
            await self._refuse(Answer.error(error, request.id), request, entry, send)
            return
        if connection is None:
            return
        scheme = next(iter(scope["subprotocols"]), "").lower()
        await send(
            {
                "type": "websocket.accept",
                "headers": request.answer_headers(),
                "subprotocol": scheme if scheme in ("token", "bearer") else None,
            }
        )
        self.journal.opened(entry)
        logger.info("%s opened", request.id)
        try:
            await connection.run()
        finally:
            self.journal.closed(entry)
            logger.info("%s closed with %s after %.1f s", request.id, entry.code, entry.seconds)

    async def _admit(self, request: Request, entry: Entry, scope: Scope, send: Send) -> Connection | None:
        """None when a fault has refused it. Raises DeepgramError."""
        try:
            fault = self._fault_of(request)
        except BadFault as error:
            raise errors.bad_query(str(error)) from None
        if fault is not None:
            entry.fault = fault.kind
            if fault.kind not in faults.LIVE:
                raise errors.bad_query(f"{fault.kind} is no fault of live connections")
            if fault.kind == faults.REFUSE:
                await self._refuse(refusal(fault, request), request, entry, send)
                return None
            if fault.kind == faults.CONNECT_LATE:
                await asyncio.sleep(fault.number)

        if request.path != "/v1/listen":
            raise errors.not_found()
        self._credentials.key_or_token_id(_authorization(request, scope["subprotocols"]))
        options = query.parse_live(request.query)
        if 0 < self._max_streams <= self.journal.active:
            raise errors.too_many_requests()
        return Connection(
            options,
            self._engine,
            self._threads,
            entry,
            fault,
            self.noise,
            silence_seconds=self._silence_seconds,
            connected=scope["state"]["socket"],
            receive=request.receive,
            send=send,
        )

    async def _refuse(self, answer: Answer, request: Request, entry: Entry, send: Send) -> None:
        entry.status = answer.status
        self.journal.refused(entry)
        logger.info("%s refused with %s", request.id, answer.status)
        await answer.refuse(request, send)


def _authorization(request: Request, subprotocols: list[str]) -> str:
    """Browsers cannot set headers: they offer `token, KEY` or `bearer, GRANT` as subprotocols."""
    header = request.headers.get("authorization")
    return " ".join(subprotocols[:2]) if header is None else header
