"""Between a client's socket and the provider's: tells the session what happens, and does what it asks for.

Each event is handled to its end where it comes up, and nothing in that waits: so events are handled one at a
time, without locks and without a task per message. What takes time (the client's reading, the provider's
handshake, the database) has tasks of its own, and what they come to is an event again.

Whatever fails here fails as a whole: nothing goes quiet.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from contextvars import copy_context
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import Error, InterfaceError, OperationalError
from django.utils import timezone
from structlog.contextvars import bind_contextvars, bound_contextvars

from routing import tracing
from routing.regions import Region
from streaming import metrics, provider
from streaming.client import Client
from streaming.database import in_database
from streaming.holes import filled
from streaming.latency import REPORT, LatencyMeter, reported
from streaming.lifecycle import Ending, Final, Moment, Progress
from streaming.models import EndReason, Happening, NotHeld
from streaming.opening import Opening
from streaming.recorded import PART_SECONDS, Tape
from streaming.refusals import Refused, not_found, too_many_requests, unavailable
from streaming.rules import actions, events
from streaming.rules.actions import Action, AudioMark
from streaming.rules.events import Event
from streaming.rules.extension import ENDED, RESTARTING
from streaming.rules.session import MOST_TEXT, Session
from streaming.switchboard import switchboard
from streaming.whereabouts import NoPlace, Place, Whereabouts

logger = logging.getLogger(__name__)

RETRY_SECONDS = 5
# For the client to take the last that it is sent.
FAREWELL_SECONDS = 5.0
# For the database to come back, at the end of a session.
LAST_WORDS_SECONDS = 30.0


class Relay:
    """One live session of this process, from the handshake to its end."""

    def __init__(self, opening: Opening, client: Client) -> None:
        self._opening = opening
        self._row = opening.row
        self._client = client
        self._session = Session(
            opening.terms,
            identity=opening.identity,
            resumed=opening.resumed,
            created_at=opening.row.created_at,
        )
        self._latency = LatencyMeter(opening.row.latency)
        self._seen_by_client: dict[str, float] = opening.row.client_latency
        self._switchboard = switchboard()
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[actions.EndReason] = self._loop.create_future()
        self._alarm: asyncio.TimerHandle | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._listening: asyncio.Task[None] | None = None
        self._upstream: provider.Socket | None = None
        self._whereabouts = Whereabouts(opening.residency)
        # Audio in a container cannot be understood without its header, nor by another relay.
        self._needs_prelude = bool(opening.identity) and not opening.terms.encoding and not opening.resumed
        # Of the first connection
        self._region = self._request_id = ""
        self._connected_at: datetime | None = None
        # To be stored
        resumed_at = opening.resumed
        self._seq = resumed_at.seq if resumed_at else 0
        self._mark = resumed_at.audio if resumed_at else AudioMark(0, 0.0)
        self._finals: list[tuple[Final, AudioMark]] = []
        self._moments: list[Moment] = []
        self._prelude = b""
        self._is_away = False
        self._ending: Ending | None = None
        self._refused: Refused | None = None
        # Whoever is told that all has been said finds it stored.
        self._farewell: tuple[int, str] | None = None
        self._counted = metrics.OfSession(opening.row.options, self._mark.seconds)
        self._tape = Tape(self._row.pk, self._row.epoch, self._mark.byte) if self._row.record else None
        client.report_to(self._from_client)

    @property
    def session_id(self) -> UUID:
        return self._row.pk

    @property
    def epoch(self) -> int:
        return self._row.epoch

    @property
    def held_bytes(self) -> dict[str, int]:
        """What is kept for the provider and for the client, which may be asked for from any thread."""
        return {"audio": self._session.held_bytes, "results": self._client.held_characters}

    async def serve(self) -> None:
        """Returns when all has been said, closed and stored."""
        ids = {"session_id": str(self.session_id)}
        span = tracing.span(
            "live.session", kind="server", parent=self._row.traceparent, **ids, epoch=self._row.epoch
        )
        with span, bound_contextvars(**ids):
            self._context = copy_context()
            reason = await self._serve()
            span.tell(
                reason=reason and reason.value,
                duration=self._session.audio_seconds,
                reconnects=self._session.reconnects,
            )
            if reason is None:
                span.fail("broken")

    async def _serve(self) -> actions.EndReason | None:
        reason: actions.EndReason | None = None
        writing_down: asyncio.Task[None] | None = None
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self._spawn(self._client.read())
                if self._tape is not None:
                    self._spawn(self._keep_audio())
                writing = self._tasks.create_task(self._client.write())
                self.happened(events.Opened())
                self._switchboard.join(self)
                reason = await self._over
                for task in self._running:
                    task.cancel()
                if self._farewell is not None:
                    writing_down = self._loop.create_task(self._write_down(reason))
                    await asyncio.wait([writing_down], timeout=FAREWELL_SECONDS)
                    self._client.close(*self._farewell)
                with suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.shield(writing), FAREWELL_SECONDS)
                writing.cancel()
        except* Exception:
            metrics.CONNECTIONS.labels("broken").inc()
            logger.exception("Live session %s failed.", self.session_id)
            await self._client.fail()
        finally:
            if self._alarm is not None:
                self._alarm.cancel()
            try:
                await (writing_down or self._write_down(reason))
            finally:
                self._switchboard.leave(self)
                # Nobody is told any more: or its audio would be kept until the garbage collector comes.
                self._client.report_to(lambda event: None)
        return reason

    def happened(self, event: Event) -> None:
        """Tell the session, and do what it asks for. Never waits, never raises."""
        if self._over.done():
            return
        try:
            self._handle(event)
        except Exception as error:  # noqa: BLE001 (whoever told us is not to blame: serve() fails with it)
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """The session is over, since it cannot go on."""
        if self._over.done():
            logger.error("The end of live session %s failed.", self.session_id, exc_info=error)
        else:
            self._over.set_exception(error)

    def _handle(self, event: Event) -> None:
        now = self._loop.time()
        for action in self._session.handle(event, now):
            self._perform(action, now)
        if type(event) is events.ClientAudio:
            self._latency.heard(self._session.audio_seconds, now)
            if self._tape is not None:
                self._tape.add(event.data)
            if self._needs_prelude and self._session.prelude:
                self._needs_prelude = False
                self._prelude = self._session.prelude
                self._switchboard.has_news(self)

    def progress(self) -> Progress:
        """What is to be stored now."""
        finals = list(self._finals)
        last, mark = finals[-1] if finals else (None, self._mark)
        return Progress(
            session_id=self._row.pk,
            epoch=self._row.epoch,
            acked_bytes=mark.byte,
            acked_seconds=mark.seconds,
            last_seq=last.seq if last else self._seq,
            duration=self._session.audio_seconds,
            connections=self._session.connection,
            reconnects=self._session.reconnects,
            latency=self._latency.summary(),
            client_latency=self._seen_by_client,
            region=self._region,
            request_id=self._request_id,
            connected_at=self._connected_at,
            prelude=self._prelude,
            finals=[final for final, _ in finals],
            moments=list(self._moments),
            is_away=self._is_away,
            ending=self._ending,
        )

    def stored(self, progress: Progress) -> None:
        """All that `progress` says is in the database."""
        del self._moments[: len(progress.moments)]
        if progress.prelude:
            self._prelude = b""
        self._counted.progressed(progress.duration, self._session.dropped_interims)
        if progress.finals:
            self._mark = AudioMark(progress.acked_bytes, progress.acked_seconds)
            self._seq = progress.last_seq
            del self._finals[: len(progress.finals)]
            self.happened(events.FinalsStored(progress.last_seq))

    def _from_client(self, event: Event) -> None:
        if (
            type(event) is events.ClientText
            and event.text.startswith(REPORT)
            and len(event.text) <= MOST_TEXT
        ):
            self._seen_by_client = reported(event.text) or self._seen_by_client
        else:
            self.happened(event)

    def _perform(self, action: Action, now: float) -> None:
        match action:
            # The first two are nearly all that there is.
            case actions.SendAudio(data):
                self._send(data)
            case actions.Deliver(text, heard_until, is_final):
                self._client.deliver(text)
                if heard_until is not None:
                    self._counted.told(self._latency.told(heard_until, now), is_final=is_final)
            case actions.SendText(text):
                self._send(text)
            case actions.Wake(at):
                if self._alarm is not None:
                    self._alarm.cancel()
                self._alarm = self._loop.call_at(at, self.happened, events.Ticked())
            case actions.StoreFinal(seq=seq, text=text, connection=connection, late=late, resume_from=mark):
                self._finals.append((Final(seq, text, connection, late), mark))
                self._switchboard.has_news(self)
            case actions.Accept(request_id):
                metrics.CONNECTIONS.labels("accepted").inc()
                self._client.accept(request_id)
                for text in self._opening.missed:
                    self._client.deliver(text)
            case actions.Refuse(status, message):
                self._refused = _refusal(status, message)
                metrics.handshake_refused(self._refused.status)
                self._client.refuse(self._refused)
            case actions.Connect(connection, after, failures):
                self._listening = self._spawn(self._listen(connection, after, failures))
            case actions.Disconnect(hangs=True) if self._upstream is not None:
                # Whoever listens to it finds it broken, and tells of that.
                self._upstream.transport.abort()
                self._upstream = None
            case actions.Disconnect():
                self._upstream = None
                if self._listening is not None:
                    self._listening.cancel()
            case actions.CloseClient(code, reason) if code in (ENDED, RESTARTING):
                self._farewell = code, reason
            case actions.CloseClient(code, reason):
                self._client.close(code, reason)
            case actions.PauseClient():
                self._client.pause()
            case actions.ResumeClient():
                self._client.resume()
            case actions.Interrupted():
                self._interrupt()
            case actions.DeclareGap(start, end):
                metrics.GAP_SECONDS.inc(end - start)
                self._remember(Happening.GAP, start=start, end=end)
            case actions.Report(state):
                if state == "reconnecting":
                    self._counted.lost_provider(self._loop.time())
                logger.info("Live session %s: %s", self.session_id, state)
            case actions.FillLate(start, end, heard_from, audio):
                self._spawn(self._fill(start, end, heard_from, audio))
            case actions.End(reason):
                self._over.set_result(reason)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Have it done beside, until it or the session is over."""
        # Not as a part of whichever connection's task it is begun by.
        task = self._tasks.create_task(work, context=self._context.copy())
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def _send(self, data: bytes | str) -> None:
        if self._upstream is not None:
            provider.send(self._upstream, data)

    async def _listen(self, connection: int, after: float, failures: int) -> None:
        """One connection to the provider, from its handshake to its close."""
        await asyncio.sleep(after)
        try:
            async with self._place(failures) as place:
                await self._converse(connection, place)
        except NoPlace as error:
            self.happened(events.ProviderRefused(connection, error.status, str(error)))

    @asynccontextmanager
    async def _place(self, failures: int) -> AsyncIterator[Place]:
        """Where to connect to, held while the block lasts. NoPlace."""
        finding = asyncio.ensure_future(in_database(self._whereabouts.next, failures))

        def give_back(found: asyncio.Future[Place]) -> None:
            if not (found.cancelled() or found.exception()):
                self._loop.run_in_executor(None, found.result().give_back)

        try:
            # What is found for one who is cancelled meanwhile is given back as well.
            yield await asyncio.shield(finding)
        finally:
            finding.add_done_callback(give_back)

    async def _converse(self, connection: int, place: Place) -> None:
        span = tracing.span("live.connection", kind="client", region=place.region.name, connection=connection)
        with span:
            await self._conversed(connection, place, span)

    async def _conversed(self, connection: int, place: Place, span: tracing.Span) -> None:
        region = place.region
        try:
            socket = await provider.opened(region, self._opening.query)
        except provider.NotOpened as error:
            span.fail(str(error.status))
            logger.warning(
                "Region %s refused live session %s: %s", region.name, self.session_id, error.status
            )
            await asyncio.to_thread(self._whereabouts.refused, place, error.status, error.retry_after)
            self.happened(events.ProviderRefused(connection, error.status, error.message))
            return
        # For the lines of this connection: it is told of by a task of its own.
        bind_contextvars(provider_request_id=provider.request_id(socket))
        span.tell(request_id=provider.request_id(socket))
        self._upstream = socket
        self._counted.connected(region.name, self._loop.time())
        try:
            if self._whereabouts.is_as_expected(place):
                self._whereabouts.connected(place)
            else:
                await asyncio.to_thread(self._whereabouts.connected, place)
            self._note_connected(region, provider.request_id(socket), connection)
            self.happened(events.ProviderConnected(connection, provider.request_id(socket)))
            await socket.tell(lambda text: self.happened(events.ProviderMessage(connection, text)))
        finally:
            if self._upstream is socket:
                self._upstream = None
            await socket.close()
        code, reason = socket.close_code or 1006, socket.close_reason or ""
        span.tell(close_code=code)
        if code != 1000:
            span.fail(str(code))
            await asyncio.to_thread(self._whereabouts.lost, place, code)
            self._remember(Happening.CONNECTION_LOST, code=code, connection=connection)
        self.happened(events.ProviderClosed(connection, code, reason))

    async def _fill(self, start: float, end: float, heard_from: float, audio: bytes) -> None:
        try:
            self.happened(await filled(self._row, start, end, heard_from, audio))
        except (OSError, Error) as error:
            logger.warning("A hole of %s cannot be kept: %s", self.session_id, type(error).__name__)
            self.happened(events.HoleFilled(start, end, [], failed=True))

    def _note_connected(self, region: Region, request_id: str, connection: int) -> None:
        if self._connected_at is None:
            self._region, self._request_id, self._connected_at = region.name, request_id, timezone.now()
        self._remember(Happening.CONNECTED, region=region.name, request_id=request_id, connection=connection)

    def _remember(self, what: Happening, **details: Any) -> None:
        self._moments.append(Moment(what, details))
        self._switchboard.has_news(self)

    def _interrupt(self) -> None:
        self._is_away = True
        self._remember(Happening.INTERRUPTED)

    async def _keep_audio(self) -> None:
        while True:
            await asyncio.sleep(PART_SECONDS)
            await self._keep_tape()

    async def _keep_tape(self) -> None:
        if self._tape is not None:
            try:
                await self._tape.keep()
            except (OSError, OperationalError, InterfaceError) as error:
                logger.warning("Audio of %s is not kept yet: %s", self.session_id, type(error).__name__)

    async def _write_down(self, reason: actions.EndReason | None) -> None:
        """The last of it. What cannot be written is left to the sweeper, which finds nobody attending it."""
        await self._keep_tape()
        if reason is not None and reason.is_interruption:
            if reason is not actions.EndReason.SUPERSEDED:
                self._interrupt()
        elif reason is not None:
            refused = self._refused
            error = (refused.code, refused.message) if refused else ()
            self._ending = Ending(EndReason(reason.value), *error)
        try:
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                is_held = await self._switchboard.write_last(self)
        except TimeoutError:
            logger.error("The end of live session %s could not be stored.", self.session_id)
            return
        if not is_held:
            logger.info("%s", NotHeld(self.session_id))
        elif self._ending:
            logger.info("Live session %s: ended (%s)", self.session_id, self._ending.reason)


def _refusal(status: int, message: str) -> Refused:
    """In the provider's words, where the request is at fault. That our key is refused is our own trouble."""
    match status:
        case 429:
            return too_many_requests(RETRY_SECONDS)
        case 404:
            return not_found()
        case 400 | 411 | 413 | 414 | 415 | 422:
            return Refused(status, "Bad Request", message)
    return unavailable(RETRY_SECONDS)
