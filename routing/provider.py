"""The Deepgram client for recordings: one request, under a total deadline, with no retries of its own.

Errors, each with a stable `code`, the provider's `request_id` and `status` where there was an answer, and
the `kind` that `routing.backoff` decides by:

    ProviderError
      ProviderUnavailable           try again, here or in another region; not before `retry_after` seconds
        provider_unreachable          no connection, or it broke
        provider_timeout              the deadline, a silent connection
        provider_rate_limited         429
        provider_error                5xx, 408 and what else promises nothing about the request
        provider_malformed_answer     a grant that cannot be read (transcripts are read by the caller)
      ProviderRejected              the same request would be refused again: `message` is the provider's own
        provider_rejected             400, 404, 411, 414, 422 and other 4xx
        provider_too_large            413
        provider_unsupported_media    415
        provider_answer_too_large     the answer is longer than `max_answer_bytes`
      ProviderRefusedCredentials    our key is at fault, not the request
        provider_unauthorized         401, or no key to send
        provider_payment_required     402
        provider_forbidden            403
    AudioUnreadable                 the file could not be read, or is shorter than its size
    CallAborted                     we ended the call (routing.transport)

`ProviderUnavailable.outcome_unknown` is True if the whole request had been sent and no complete answer
came: the provider may have done the work, and may bill it.

The SDK builds the requests (URL, headers, parameters) but does not read the answers: parsing a transcript
into its models costs many times the request, and the bytes are stored as they came. A transport keeps
them and shows the SDK an empty object; nothing of the SDK or of httpx reaches the caller.
"""

import os
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol, cast
from urllib.parse import urlsplit

import httpx
import orjson
from deepgram import DeepgramClient
from deepgram.core.api_error import ApiError
from deepgram.core.request_options import RequestOptions
from deepgram.environment import DeepgramClientEnvironment

with warnings.catch_warnings():
    # The SDK's live half still imports websockets' old client, and its REST half comes with it. Here, once:
    # the SDK would import it within the first call.
    warnings.simplefilter("ignore", DeprecationWarning)
    import deepgram.listen.v1.client  # noqa: F401

from . import metrics, tracing
from .backoff import ErrorKind, parse_retry_after
from .transport import (
    Call,
    CallAborted,
    DeadlineExceeded,
    DeadlineTransport,
    ResponseTooLarge,
    client_over,
    read_limited,
)

__all__ = [
    "Answer",
    "AudioFile",
    "AudioUnreadable",
    "Call",
    "CallAborted",
    "Grant",
    "Provider",
    "ProviderEndpoint",
    "ProviderError",
    "ProviderRefusedCredentials",
    "ProviderRejected",
    "ProviderUnavailable",
    "code_of",
    "fit_to_tell",
    "provider_for",
]

# Deepgram works up to 20 minutes on a file before the first byte of its answer; the call's deadline is
# the limit, this only ends a connection that is silent for longer than that.
READ_SECONDS = 1260.0
CHUNK_BYTES = 256 * 1024
MAX_MESSAGE = 1000
MAX_REQUEST_ID = 100
MAX_PROVIDER_CODE = 60
MAX_ERROR_BYTES = 64 * 1024


class ProviderError(Exception):
    """Deepgram did not do what it was asked to. See the top of this module."""

    kind = ErrorKind.UNAVAILABLE
    retry_after: float | None = None
    outcome_unknown = False
    # The provider's own name for the error, if it gave one.
    provider_code = ""

    def __init__(
        self, code: str, message: str, *, request_id: str | None = None, status: int | None = None
    ) -> None:
        # What others wrote is to be stored: PostgreSQL has no NUL in text, and the column an end.
        message = message.replace("\0", "")
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.request_id = request_id and request_id.replace("\0", "")[:MAX_REQUEST_ID]
        self.status = status


class ProviderUnavailable(ProviderError):
    """Trying again may help."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        request_id: str | None = None,
        status: int | None = None,
        retry_after: float | None = None,
        outcome_unknown: bool = False,
    ) -> None:
        super().__init__(code, message, request_id=request_id, status=status)
        self.retry_after = retry_after
        self.outcome_unknown = outcome_unknown
        if status == 429:
            self.kind = ErrorKind.BUSY


class ProviderRejected(ProviderError):
    """Trying again will not help."""

    kind = ErrorKind.REJECTED


class ProviderRefusedCredentials(ProviderError):
    """The key is invalid, out of credits, or not allowed to do this."""

    kind = ErrorKind.CREDENTIALS


class AudioUnreadable(Exception):
    """Our storage did not give the file in full."""

    code = "audio_unreadable"


@dataclass(frozen=True, slots=True)
class ProviderEndpoint:
    """Where and as whom to call: `base_url` like https://api.deepgram.com, a path prefix allowed.

    `region`: whose provider it is, in the metrics.
    """

    base_url: str
    api_key: str = field(repr=False)
    max_answer_bytes: int = 256 * 1024 * 1024
    region: str = ""


class Readable(Protocol):
    """As much of a binary file as is used here; Django's are not typing.BinaryIO."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class AudioFile:
    """`size` bytes of an open binary file from where it stands. To ask again, open or rewind it again."""

    file: Readable
    size: int


@dataclass(frozen=True, slots=True)
class Answer:
    """`body`: the provider's JSON as it came, unparsed. `elapsed`: seconds from asking to its last byte."""

    body: bytes = field(repr=False)
    request_id: str | None
    status: int
    elapsed: float


@dataclass(frozen=True, slots=True)
class Grant:
    """A short-lived token for the provider, good for `expires_in` seconds."""

    access_token: str = field(repr=False)
    expires_in: float


class Provider:
    """Deepgram at one endpoint. Thread-safe; connections are kept alive and shared by all threads."""

    def __init__(self, endpoint: ProviderEndpoint) -> None:
        self.endpoint = endpoint
        transport = _KeepBytes(DeadlineTransport(), endpoint.max_answer_bytes)
        self._http = client_over(transport, read_seconds=READ_SECONDS)
        base = endpoint.base_url.rstrip("/")
        sdk = DeepgramClient(
            api_key=endpoint.api_key,
            environment=DeepgramClientEnvironment(base=base, production=base, agent=base, agent_rest=base),
            httpx_client=self._http,
            max_retries=0,  # a retry would send an empty body: the file has been read
        )
        # Left to itself the SDK reads its package's metadata for every request, to name its version: 0.6 ms.
        http = sdk._client_wrapper.httpx_client
        http.base_headers = http.base_headers().copy
        self._media = sdk.listen.v1.media.with_raw_response
        self._models = sdk.manage.v1.models.with_raw_response
        self._tokens = sdk.auth.v1.tokens.with_raw_response

    def transcribe(
        self,
        source: AudioFile,
        options: Sequence[tuple[str, str]],
        *,
        call: Call,
        content_type: str | None = None,
    ) -> Answer:
        """Have a recording transcribed.

        `options`: query parameters as Deepgram names them; a repeated name is sent repeatedly.
        `content_type`: the file's media type, if known. A file is streamed in constant memory.
        Raises `ProviderError`, `AudioUnreadable`, `CallAborted`.
        """
        request_options = RequestOptions(additional_query_parameters=_grouped(options))
        request_options["additional_headers"] = {  # lower case, to replace the SDK's own
            "content-type": content_type or "application/octet-stream",
            "content-length": str(source.size),
        }
        body = _read_exactly(source)
        return self._ask(
            "transcribe",
            call,
            lambda: self._media.transcribe_file(request=body, request_options=request_options),
        )

    def grant(self, ttl: int, *, call: Call) -> Grant:
        """A token that opens connections for `ttl` seconds, for those who must not have the key."""
        answer = self._ask("grant", call, lambda: self._tokens.grant(ttl_seconds=ttl))
        match _json_object(answer.body):
            case {"access_token": str(token), "expires_in": int() | float() as seconds}:
                return Grant(token, seconds)
        raise ProviderUnavailable(
            "provider_malformed_answer",
            "The provider's grant could not be read.",
            request_id=answer.request_id,
            status=answer.status,
        )

    def models(self, *, include_outdated: bool, call: Call) -> Answer:
        """The models that there are, as Deepgram lists them. Raises `ProviderError`, `CallAborted`."""
        return self._ask("models", call, lambda: self._models.list(include_outdated=include_outdated))

    def close(self) -> None:
        """Close the kept connections."""
        self._http.close()

    def __repr__(self) -> str:
        return f"Provider({self.endpoint!r})"

    def _ask(self, operation: str, call: Call, send: Callable[[], object]) -> Answer:
        """Run one SDK call and judge it by what the transport saw.

        The error is raised after the SDK's has been dealt with: its frames hold our key, and tracebacks
        with local variables end up in logs.
        """
        if not _fits_a_header(self.endpoint.api_key):
            # Not left to the libraries: a header that cannot be encoded is an error that quotes the key.
            metrics.CALLS.labels(self.endpoint.region, operation, "provider_unauthorized").inc()
            raise ProviderRefusedCredentials("provider_unauthorized", "The provider's API key is missing.")
        with tracing.span(f"provider.{operation}", kind="client", region=self.endpoint.region) as span:
            return self._exchanged(operation, call, send, span)

    def _exchanged(
        self, operation: str, call: Call, send: Callable[[], object], span: tracing.Span
    ) -> Answer:
        exchange = _Exchange()
        started = time.monotonic()
        token = _exchange.set(exchange)
        failure: Exception | None = None
        try:
            with call:
                send()
        except ApiError:
            pass  # by the status, below
        except (CallAborted, AudioUnreadable) as error:
            failure = type(error)(*error.args)
        except (DeadlineExceeded, httpx.HTTPError, httpx.InvalidURL, ResponseTooLarge) as error:
            failure = _failure(error, exchange, host=urlsplit(self.endpoint.base_url).hostname)
        finally:
            _exchange.reset(token)
        if failure is None and not 200 <= exchange.status < 300:
            failure = _refusal(exchange, self.endpoint.api_key)
        elapsed = time.monotonic() - started
        outcome = "ok" if failure is None else getattr(failure, "code", "aborted")
        metrics.CALLS.labels(self.endpoint.region, operation, outcome).inc()
        metrics.CALL_SECONDS.labels(self.endpoint.region, operation).observe(elapsed)
        if exchange.answered_at is not None:
            first_byte = metrics.FIRST_BYTE_SECONDS.labels(self.endpoint.region, operation)
            first_byte.observe(exchange.answered_at - started)
        span.tell(**{"http.response.status_code": exchange.status or None}, request_id=exchange.request_id)
        if failure is not None:
            raise failure
        return Answer(exchange.body, exchange.request_id, exchange.status, elapsed)


_providers: dict[ProviderEndpoint, Provider] = {}
_providers_lock = threading.Lock()


def provider_for(endpoint: ProviderEndpoint) -> Provider:
    """The process's client for an endpoint, made when first asked for."""
    with _providers_lock:
        if endpoint not in _providers:
            _providers[endpoint] = Provider(endpoint)
        return _providers[endpoint]


def _forget_providers() -> None:
    """In a forked child: the connections belong to the parent. The lock is held, by the fork itself."""
    _providers.clear()
    _providers_lock.release()


os.register_at_fork(
    before=_providers_lock.acquire,
    after_in_parent=_providers_lock.release,
    after_in_child=_forget_providers,
)


class _Exchange:
    """What the transport saw of one request."""

    status = 0
    body = b""
    sent = False  # the request, in full
    answered_at: float | None = None  # by the monotonic clock

    def __init__(self) -> None:
        self.headers = httpx.Headers()

    @property
    def request_id(self) -> str | None:
        sent = cast("str | None", self.headers.get("dg-request-id"))
        return sent and sent[:MAX_REQUEST_ID]


_exchange: ContextVar[_Exchange] = ContextVar("exchange")


class _KeepBytes(httpx.BaseTransport):
    """Keeps the answer as bytes in the current exchange, and gives the SDK an empty object to parse."""

    def __init__(self, network: httpx.BaseTransport, max_answer_bytes: int) -> None:
        self._network = network
        self._max_answer_bytes = max_answer_bytes

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        exchange, url = _exchange.get(), request.url
        told = {"http.request.method": request.method, "server.address": url.host, "server.port": url.port}
        tracing.tell(**told)
        request.stream = _Sending(cast(httpx.SyncByteStream, request.stream), exchange)
        response = self._network.handle_request(request)
        exchange.answered_at = time.monotonic()
        try:
            exchange.headers = response.headers
            exchange.body = read_limited(response, self._max_answer_bytes)
            exchange.status = response.status_code
        finally:
            response.close()
        return httpx.Response(
            response.status_code, headers={"content-type": "application/json"}, content=b"{}"
        )

    def close(self) -> None:
        self._network.close()


class _Sending(httpx.SyncByteStream):
    """A request body that notes when it has been sent in full."""

    def __init__(self, stream: httpx.SyncByteStream, exchange: _Exchange) -> None:
        self._stream = stream
        self._exchange = exchange

    def __iter__(self) -> Iterator[bytes]:
        yield from self._stream
        self._exchange.sent = True


def _fits_a_header(key: str) -> bool:
    return bool(key) and key.isascii() and key.isprintable()


def _read_exactly(source: AudioFile) -> Iterator[bytes]:
    unread = source.size
    while unread:
        try:
            chunk = source.file.read(min(unread, CHUNK_BYTES))
        except OSError as error:
            raise AudioUnreadable(f"reading the audio failed: {error}") from error
        if not chunk:
            raise AudioUnreadable(f"the audio ended {unread} bytes early")
        unread -= len(chunk)
        yield chunk


def _grouped(options: Iterable[tuple[str, str]]) -> dict[str, object]:
    grouped: dict[str, list[str]] = {}
    for name, value in options:
        grouped.setdefault(name, []).append(value)
    return dict(grouped)


def _failure(error: Exception, exchange: _Exchange, host: str | None) -> ProviderError:
    """What the lack of a complete answer means. The library's own wording is not shown to callers."""
    if isinstance(error, ResponseTooLarge):
        return ProviderRejected(
            "provider_answer_too_large",
            f"The provider's answer is too large: {error}.",
            request_id=exchange.request_id,
        )
    if isinstance(error, DeadlineExceeded | httpx.TimeoutException):
        code, message = "provider_timeout", f"{host} did not answer in time."
    else:
        code, message = "provider_unreachable", f"The connection to {host} failed ({type(error).__name__})."
    return ProviderUnavailable(code, message, request_id=exchange.request_id, outcome_unknown=exchange.sent)


_REJECTED_BY_STATUS = {413: "provider_too_large", 415: "provider_unsupported_media"}
_REFUSED_BY_STATUS = {
    401: "provider_unauthorized",
    402: "provider_payment_required",
    403: "provider_forbidden",
}
_MAY_PASS = frozenset({408, 425, 429, 499})


def code_of(status: int) -> str:
    """The code of the error that an answer other than 2xx is."""
    if status in _REFUSED_BY_STATUS:
        return _REFUSED_BY_STATUS[status]
    if _is_rejection(status):
        return _REJECTED_BY_STATUS.get(status, "provider_rejected")
    return "provider_rate_limited" if status == 429 else "provider_error"


def _is_rejection(status: int) -> bool:
    return 400 <= status < 500 and status not in _MAY_PASS


def _refusal(exchange: _Exchange, api_key: str) -> ProviderError:
    """What an answer other than 2xx means."""
    error = _refused(exchange, api_key)
    # The three names that Deepgram's shapes of errors have for it.
    named = _text(_json_object(exchange.body), "err_code", "category", "error_code") or ""
    error.provider_code = named.replace("\0", "")[:MAX_PROVIDER_CODE]
    return error


def fit_to_tell(message: str, api_key: str) -> str:
    """A provider's words, fit to be stored and shown: bounded, without NUL, and without our key."""
    return message.replace("\0", "").replace(api_key or "\0", "[key]")[:MAX_MESSAGE]


def _refused(exchange: _Exchange, api_key: str) -> ProviderError:
    status = exchange.status
    details = _json_object(exchange.body)
    request_id = exchange.request_id or _text(details, "request_id")
    message = fit_to_tell(_message(exchange, details), api_key)
    code = code_of(status)
    if status in _REFUSED_BY_STATUS:
        return ProviderRefusedCredentials(code, message, request_id=request_id, status=status)
    if _is_rejection(status):
        return ProviderRejected(code, message, request_id=request_id, status=status)
    return ProviderUnavailable(
        code,
        message,
        request_id=request_id,
        status=status,
        retry_after=parse_retry_after(exchange.headers.get("retry-after"), now=_server_time(exchange)),
    )


def _message(exchange: _Exchange, details: dict[str, object]) -> str:
    """The provider's words. It has two shapes of errors (err_msg, message), and sometimes plain text."""
    message = _text(details, "err_msg", "message")
    if message is None and exchange.headers.get("content-type", "").startswith("text/plain"):
        message = exchange.body[:MAX_MESSAGE].decode(errors="replace").strip()
    return message or f"The provider answered {exchange.status}."


def _server_time(exchange: _Exchange) -> datetime | None:
    try:
        date = parsedate_to_datetime(exchange.headers["date"])
    except (KeyError, ValueError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _json_object(body: bytes) -> dict[str, object]:
    if len(body) > MAX_ERROR_BYTES:
        return {}
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _text(details: dict[str, object], *names: str) -> str | None:
    """The first of these members that is a text with something in it."""
    for name in names:
        value = details.get(name)
        if isinstance(value, str) and value:
            return value
    return None
