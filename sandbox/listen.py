"""`POST /v1/listen`: a recording in, its transcription out, or later to a callback."""

import asyncio
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx

from sandbox import errors, faults, query, recordings, response
from sandbox.audio import Audio, CorruptAudio
from sandbox.callbacks import Callbacks
from sandbox.engines import Engine
from sandbox.errors import DeepgramError
from sandbox.messages import Answer, Request
from sandbox.query import ListenOptions
from sandbox.recordings import Recording

logger = logging.getLogger(__name__)

WORKER_THREADS = 4


class Listen:
    def __init__(
        self,
        engine: Engine,
        client: httpx.AsyncClient,
        callbacks: Callbacks,
        max_bytes: int = recordings.MAX_BYTES,
    ) -> None:
        self._engine = engine
        self._client = client
        self._callbacks = callbacks
        self._max_bytes = max_bytes
        self._threads = ThreadPoolExecutor(WORKER_THREADS, thread_name_prefix="recognise")
        self._measured: dict[tuple[object, ...], tuple[float, int]] = {}
        self._background: set[asyncio.Task[None]] = set()

    async def answer(self, request: Request, key_id: str) -> Answer:
        """Raises DeepgramError, ClientGone."""
        options = query.parse(request.query)
        with ExitStack() as cleanup:
            recording = cleanup.enter_context(Recording())
            url = await self._url(request)
            if url is None:
                await recordings.receive(request, recording, self._max_bytes)
            if options.callback is None:
                return Answer(
                    200, await self._result(request, options, recording, url), headers=self._headers()
                )

            # The task owns the recording from here on.
            files = cleanup.pop_all()
        task = asyncio.create_task(
            self._call_back(options.callback, request, options, recording, url, key_id, files)
        )
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return Answer.of({"request_id": request.id})

    async def read(self, request: Request) -> None:
        """Takes in the body of a request that will not be worked on, so that the journal knows it."""
        with Recording() as recording:
            await recordings.receive(request, recording, self._max_bytes)

    async def close(self) -> None:
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _url(self, request: Request) -> str | None:
        """The address in a JSON body; None when the body is the audio itself."""
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return None
        content = await request.json()
        url = content.get("url") if isinstance(content, dict) else None
        if not isinstance(url, str):
            raise errors.bad_json()
        if not url.startswith(("http://", "https://")):
            raise errors.remote_content("URL for media download must be publicly routable.")
        return url

    async def _result(
        self, request: Request, options: ListenOptions, recording: Recording, url: str | None
    ) -> bytes:
        if url is not None:
            await recordings.fetch(self._client, url, recording, self._max_bytes)
            request.sha256, request.size = recording.sha256, recording.size
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, self._transcribe, request, options, recording)
        except CorruptAudio:
            raise errors.corrupt_audio() from None

    def _transcribe(self, request: Request, options: ListenOptions, recording: Recording) -> bytes:
        """Runs in a thread, JSON encoding included: an hour of speech is some megabytes of it."""
        audio = self._open(recording, options)
        channels = range(min(audio.channels, query.MAX_CHANNELS)) if options.multichannel else [None]
        words = [self._engine.transcribe(audio, channel, diarize=options.diarize) for channel in channels]
        content = response.transcription(
            words,
            options,
            request_id=request.id,
            created=request.created,
            sha256=recording.sha256,
            duration=audio.duration,
            model=self._engine.model,
        )
        return json.dumps(content).encode()

    def _open(self, recording: Recording, options: ListenOptions) -> Audio:
        """Opens each recording once: FFmpeg's look at it is most of what a scripted request costs."""
        key = (recording.sha256, options.encoding, options.sample_rate, options.channels)
        known = self._measured.get(key)
        if known is None:
            audio = Audio.open(recording.path, options)
            known = self._measured[key] = audio.duration, audio.channels
        return Audio(recording.path, options, *known)

    async def _call_back(
        self,
        address: str,
        request: Request,
        options: ListenOptions,
        recording: Recording,
        url: str | None,
        key_id: str,
        files: ExitStack,
    ) -> None:
        with files:
            try:
                body = await self._result(request, options, recording, url)
            except DeepgramError as error:
                # Failures are posted too, in the shape that a direct answer would have.
                body = Answer.error(error, request.id).body
        copies = 1
        if request.fault is not None and request.fault.kind == faults.CALLBACK_LATE:
            await asyncio.sleep(request.fault.number)
        if request.fault is not None and request.fault.kind == faults.CALLBACK_COPIES:
            copies = int(request.fault.number)
        await self._callbacks.deliver(options.callback_method, address, body, key_id, copies=copies)

    def _headers(self) -> dict[str, str]:
        return {"dg-model-name": self._engine.model.name, "dg-model-uuid": self._engine.model.uuid}
