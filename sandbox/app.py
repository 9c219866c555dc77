"""The ASGI application: who may ask for what, and what is written down about it."""

import logging
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import httpx

from sandbox import errors, faults, query, recordings
from sandbox.callbacks import RETRY_SECONDS, Callbacks
from sandbox.credentials import Credentials, ttl
from sandbox.engines import Engine
from sandbox.engines.scripted import ScriptedEngine
from sandbox.errors import DeepgramError
from sandbox.faults import BadFault, Schedule
from sandbox.journal import Journal
from sandbox.listen import Listen
from sandbox.live.handshake import SILENCE_SECONDS, Live
from sandbox.live.noise import Noise
from sandbox.messages import Answer, ClientGone, Receive, Request, Scope, Send
from sandbox.misbehaviour import misbehave

logger = logging.getLogger(__name__)

LIVE_THREADS = 2
"""In which slow engines recognise live audio, apart from those for recordings."""
PROJECT = {"project_id": "5a4dbc4e-0000-4000-8000-000000000001", "name": "Sandbox"}
PREFLIGHT_HEADERS = "authorization, content-type, x-deepgram-session-id, x-fern-language, x-fern-sdk-name"


@dataclass(frozen=True)
class Settings:
    max_bytes: int = recordings.MAX_BYTES
    max_concurrent: int = 0
    """Requests to `/v1/listen` beyond so many at once get a 429; 0 for no limit."""
    callback_retry_seconds: float = RETRY_SECONDS
    max_streams: int = 0
    """Live connections beyond so many at once get a 429; 0 for no limit."""
    silence_seconds: float = SILENCE_SECONDS


class Sandbox:
    def __init__(self, engine: Engine, credentials: Credentials, settings: Settings) -> None:
        self._engine = engine
        self._credentials = credentials
        self._settings = settings
        self._schedule = Schedule()
        self._journal = Journal()
        self._live = Live(
            engine,
            ThreadPoolExecutor(LIVE_THREADS, thread_name_prefix="live"),
            credentials,
            lambda handshake: self._fault(handshake, live=True),
            max_streams=settings.max_streams,
            silence_seconds=settings.silence_seconds,
        )
        self._listen: Listen
        """Made at startup, since its HTTP client belongs to the running loop."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "lifespan":
                await self._run(receive, send)
            case "http":
                await self._serve(Request(scope, receive), send)
            case "websocket":
                await self._live.serve(scope, receive, send)

    async def _run(self, receive: Receive, send: Send) -> None:
        await receive()
        # Callbacks and remote recordings may take long to answer, but not to connect.
        async with httpx.AsyncClient(timeout=httpx.Timeout(60, connect=5), max_redirects=5) as client:
            callbacks = Callbacks(client, self._settings.callback_retry_seconds)
            self._listen = Listen(self._engine, client, callbacks, self._settings.max_bytes)
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await self._listen.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _serve(self, request: Request, send: Send) -> None:
        if request.method == "OPTIONS":
            await _preflight(request).send(request, send)
        elif request.path.startswith("/sandbox/"):
            await (await self._administer(request)).send(request, send)
        else:
            with self._journal.watch(request) as entry:
                try:
                    entry["status"] = await self._answer(request, send)
                except ClientGone:
                    logger.info("%s the client hung up", request.id)
            logger.info("%s %s %s %s", request.id, request.method, request.path, entry["status"])

    async def _answer(self, request: Request, send: Send) -> int | None:
        try:
            request.fault = self._fault(request)
            if request.fault is not None:
                return await misbehave(
                    request.fault,
                    request,
                    send,
                    read=lambda: self._listen.read(request),
                    proper=lambda: self._proper_answer(request),
                )
        except BadFault as error:
            return await self._refuse(errors.bad_query(str(error)), request, send)
        except DeepgramError as error:  # An upload that is too slow or too large even for a faulty answer.
            return await self._refuse(error, request, send)
        answer = await self._proper_answer(request)
        if not request.body_ended:
            # What is refused early may still be on its way; the connection is of no further use.
            answer = replace(answer, headers=answer.headers | {"connection": "close"})
        await answer.send(request, send)
        return answer.status

    async def _refuse(self, error: DeepgramError, request: Request, send: Send) -> int:
        await request.drain()
        await Answer.error(error, request.id).send(request, send)
        return error.status

    def _fault(self, request: Request, *, live: bool = False) -> faults.Fault | None:
        """The one asked for in the request itself, else the schedule's. Raises BadFault."""
        asked = request.headers.get("x-sandbox-fault") or next(iter(request.values("sandbox_fault")), None)
        if asked:
            return faults.parse(asked).drawn(random.Random())  # noqa: S311 - no secret
        return self._schedule.fault_for(request.path, request.tags, live=live)

    async def _proper_answer(self, request: Request) -> Answer:
        try:
            return await self._route(request)
        except DeepgramError as error:
            await request.drain()
            return Answer.error(error, request.id)

    async def _route(self, request: Request) -> Answer:
        """Raises DeepgramError, ClientGone."""
        authorization = request.headers.get("authorization", "")
        match request.method, request.path:
            case "POST", "/v1/listen":
                key_id = self._credentials.key_or_token_id(authorization)
                if 0 < self._settings.max_concurrent < self._journal.active:
                    raise errors.too_many_requests()
                return await self._listen.answer(request, key_id)
            case "POST", "/v1/auth/grant":
                key_id = self._credentials.key_id(authorization)
                seconds = ttl(await request.json())
                token = self._credentials.grant(key_id, seconds)
                return Answer.of({"access_token": token, "expires_in": seconds})
            case "GET", "/v1/models":
                self._credentials.key_id(authorization)
                return Answer.of({"stt": self._models(), "tts": []})
            case "GET", "/v1/projects":
                self._credentials.key_id(authorization)
                return Answer.of({"projects": [PROJECT]})
            case "GET", "/v1/status":
                return Answer.of(
                    {
                        "system_health": "Healthy",
                        "active_batch_requests": self._journal.active,
                        "active_stream_requests": self._live.journal.active,
                        "active_listen_v2_stream_requests": 0,
                    }
                )
            case "GET", "/v1/status/engine":
                # Readiness probes look for these bytes, without a space after the colon.
                return Answer(200, b'{"engine_connection_status":"Connected"}')
            case _, "/v1/listen" | "/v1/auth/grant" | "/v1/models" | "/v1/projects":
                raise errors.method_not_allowed()
            case _:
                raise errors.not_found()

    def _models(self) -> list[dict[str, object]]:
        """The names that are accepted; whichever is asked for, the engine's own model runs."""
        model = self._engine.model
        return [
            {
                "name": name,
                "canonical_name": name,
                "architecture": model.arch,
                "languages": ["en"],
                "version": model.version,
                "uuid": model.uuid,
                "batch": True,
                "streaming": True,
                "formatted_output": True,
            }
            for name in sorted(query.MODELS)
        ]

    async def _administer(self, request: Request) -> Answer:
        """The sandbox's own addresses. Not protected: whoever reaches the port may use them."""
        try:
            match request.method, request.path:
                case "GET", "/sandbox/faults":
                    pass
                case "PUT", "/sandbox/faults":
                    self._schedule.replace(await request.json())
                case "DELETE", "/sandbox/faults":
                    self._schedule.replace([])
                case "GET", "/sandbox/requests":
                    return Answer.of(self._journal.as_json())
                case "DELETE", "/sandbox/requests":
                    self._journal.clear()
                    return Answer(204, b"")
                case "GET", "/sandbox/streams":
                    return Answer.of(self._live.journal.as_json())
                case "DELETE", "/sandbox/streams":
                    self._live.journal.clear()
                    return Answer(204, b"")
                case "PUT", "/sandbox/noise":
                    self._live.noise = Noise.read(await request.json())
                    return Answer(204, b"")
                case "DELETE", "/sandbox/noise":
                    self._live.noise = None
                    return Answer(204, b"")
                case "PUT", "/sandbox/transcript":
                    self._script(await request.json())
                    return Answer(204, b"")
                case "DELETE", "/sandbox/transcript":
                    self._script({"text": None})
                    return Answer(204, b"")
                case _:
                    raise errors.not_found()
            return Answer.of([rule.as_json() for rule in self._schedule.rules])
        except BadFault as error:
            return Answer.error(DeepgramError(400, "BAD_FAULT", str(error)), request.id)
        except DeepgramError as error:
            return Answer.error(error, request.id)

    def _script(self, content: object) -> None:
        text = content.get("text", 0) if isinstance(content, dict) else 0
        if not isinstance(self._engine, ScriptedEngine) or not isinstance(text, str | None):
            raise BadFault('{"text": "..."} is needed, and the scripted engine')
        self._engine.transcript = text


def _preflight(request: Request) -> Answer:
    asked = request.headers.get("access-control-request-headers", PREFLIGHT_HEADERS)
    return Answer(
        204,
        b"",
        headers={
            "access-control-allow-methods": "GET, POST, PUT, DELETE, OPTIONS",
            "access-control-allow-headers": asked,
            "access-control-max-age": "86400",
        },
    )
