"""Audio that is given by its URL: the worker that runs the job fetches it, and it becomes a recording.

1. The URL is the user's, so it is called through the guarded transport: public addresses alone (unless
   FETCH_ALLOW_PRIVATE), each of at most three redirects checked anew, no cookies, nothing compressed.
2. It is streamed into a temporary file in constant memory, up to MAX_UPLOAD_BYTES, within
   FETCH_DEADLINE_SECONDS in all and no slower than SLOWEST bytes a second.
3. Only what the probe takes for audio is stored, under the name of the lease: were this process killed before
   the recording is the job's, whoever ends that lease removes it
   (jobs.forgetting.deletion.remove_unattached). The temporary file of a killed process is the sweeper's
   (jobs.audio.received.remove_abandoned).
4. URLs may be signed: logs and messages tell host and address, never path or query.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from time import monotonic
from urllib.parse import unquote, urlsplit

import httpx
from django.conf import settings
from django.utils.http import parse_header_parameters

from jobs.audio.keeping import stored
from jobs.audio.probe import ProbeError
from jobs.audio.received import InsufficientStorage, ReceivedFile, check_disk
from jobs.models import Recording, TranscriptionJob
from routing import tracing
from routing.addresses import ForbiddenURL, check_url
from routing.backoff import ErrorKind, parse_retry_after
from routing.transport import Call, DeadlineExceeded, guarded_client, peer_address

logger = logging.getLogger(__name__)

# Bytes per second, over any WATCHED_SECONDS. Telephony's 64 kbit/s are 8,000.
SLOWEST = 4_000
WATCHED_SECONDS = 30.0
HEADERS = {"user-agent": "transcription-fetch/1", "accept": "audio/*, video/*, */*;q=0.5"}


class FetchFailed(Exception):
    """The audio could not be had. `kind` says whether trying again may help, `message` what to do.

    - The caller's, and final: `url_not_found` (404, 410), `url_refused` (other answers), `url_redirects`,
      `url_too_large`, `url_encoded`, the codes of routing.addresses.ForbiddenURL and of
      jobs.audio.probe.ProbeError.
    - Tried again, and counted as an attempt: `url_unreachable`, `url_timeout`, `url_too_slow`,
      `url_server_error` (5xx, 408), `not_stored`.
    - Tried again without being one: `url_busy` (429), `probe_unavailable`.
    """

    def __init__(self, code: str, message: str, kind: ErrorKind, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.kind = kind
        self.retry_after = retry_after


def fetch(job: TranscriptionJob, call: Call) -> Recording:
    """Fetch, probe and store what `job.url` leads to; the recording's row is not saved yet.

    Touches no database. Raises FetchFailed, and CallAborted when `call` is aborted; nothing is kept then.
    """
    with tracing.span("audio.fetch", kind="client"):
        return _fetched(job, call)


def _fetched(job: TranscriptionJob, call: Call) -> Recording:
    host: str | None = None
    try:
        # Before the library reads it in its own way.
        check_url(job.url, allow_private=settings.FETCH_ALLOW_PRIVATE, allow_http=True)
        host = urlsplit(job.url).hostname
        tracing.tell(**{"server.address": host})
        with ReceivedFile() as file:
            with call.part(settings.FETCH_DEADLINE_SECONDS):
                _download(job, file)
            return stored(job.project_id, file, stored_as=job.lease_token, options=job.options)
    except FetchFailed as error:
        failure = error
    except (ForbiddenURL, ProbeError, DeadlineExceeded, httpx.HTTPError, httpx.InvalidURL) as error:
        failure = _failure(error, host)
    except InsufficientStorage:
        failure = _not_stored("there is no room left")
    except OSError as error:
        failure = _not_stored(str(error))
    logger.info("Job %s: fetching from %s failed: %s", job.pk, host, failure.code)
    raise failure


def _download(job: TranscriptionJob, file: ReceivedFile) -> None:
    begun = monotonic()
    client = _client(settings.FETCH_ALLOW_PRIVATE)
    with client.stream("GET", job.url, headers=HEADERS, follow_redirects=True) as response:
        _check(response)
        file.name = _filename(response) or None
        size, watched, watched_since = 0, 0, begun
        for chunk in response.iter_raw():
            size, watched = size + len(chunk), watched + len(chunk)
            if size > settings.MAX_UPLOAD_BYTES:
                raise _too_large()
            if (elapsed := monotonic() - watched_since) > WATCHED_SECONDS:
                if watched < SLOWEST * elapsed:
                    slow = f"{response.url.host} sends fewer than {SLOWEST} bytes a second."
                    raise FetchFailed("url_too_slow", slow, ErrorKind.UNAVAILABLE)
                watched, watched_since = 0, monotonic()
            file.receive(chunk)
        file.complete()
        address = peer_address(response)
    told = (job.pk, size, response.url.host, address, monotonic() - begun)
    logger.info("Job %s: fetched %d bytes from %s (%s) in %.1f s.", *told)


def _check(response: httpx.Response) -> None:
    """FetchFailed unless the answer promises the whole audio, and no more than is accepted."""
    status, said = response.status_code, f"{response.url.host} answered {response.status_code}."
    headers = response.headers
    retry_after = parse_retry_after(headers.get("retry-after"), now=_date(headers))
    if status == 429:
        raise FetchFailed("url_busy", said, ErrorKind.BUSY, retry_after)
    if status in (408, 425) or status >= 500:
        raise FetchFailed("url_server_error", said, ErrorKind.UNAVAILABLE, retry_after)
    if status in (404, 410):
        raise FetchFailed("url_not_found", f"{said} Check the URL.", ErrorKind.REJECTED)
    if status != 200:
        advice = "Give a URL that can be fetched without signing in."
        raise FetchFailed("url_refused", f"{said} {advice}", ErrorKind.REJECTED)
    if headers.get("content-encoding", "identity").lower() != "identity":
        encoded = f"{response.url.host} sends it compressed, although asked not to. Store it as it is."
        raise FetchFailed("url_encoded", encoded, ErrorKind.REJECTED)
    length = headers.get("content-length", "")
    if length.isdecimal():
        if int(length) > settings.MAX_UPLOAD_BYTES:
            raise _too_large()
        check_disk(int(length))


def _failure(error: Exception, host: str | None) -> FetchFailed:
    """What it means that the audio did not come. The libraries' wording is not shown: it may quote URLs."""
    match error:
        case ForbiddenURL() | ProbeError():
            passes = error.code == "probe_unavailable"
            return FetchFailed(error.code, error.message, ErrorKind.BUSY if passes else ErrorKind.REJECTED)
        case httpx.TooManyRedirects():
            return FetchFailed("url_redirects", f"{host} redirects too often.", ErrorKind.REJECTED)
        case httpx.InvalidURL() | httpx.UnsupportedProtocol():
            return FetchFailed("url_malformed", "The URL cannot be parsed.", ErrorKind.REJECTED)
        case DeadlineExceeded() | httpx.TimeoutException():
            return FetchFailed("url_timeout", f"{host} did not send it in time.", ErrorKind.UNAVAILABLE)
        case _:
            broke = f"The connection to {host} failed ({type(error).__name__})."
            return FetchFailed("url_unreachable", broke, ErrorKind.UNAVAILABLE)


def _not_stored(why: str) -> FetchFailed:
    return FetchFailed("not_stored", f"The audio could not be stored: {why}.", ErrorKind.UNAVAILABLE)


def _too_large() -> FetchFailed:
    allowed = f"The audio is larger than {settings.MAX_UPLOAD_BYTES} bytes. Split or compress it."
    return FetchFailed("url_too_large", allowed, ErrorKind.REJECTED)


def _filename(response: httpx.Response) -> str:
    """What the server calls the file (RFC 6266), or else the last part of the URL's path."""
    _, parameters = parse_header_parameters(response.headers.get("content-disposition", ""))
    return Recording.shown_name(parameters.get("filename") or unquote(response.url.path))


def _date(headers: httpx.Headers) -> datetime | None:
    """The server's own clock, by which its Retry-After may be meant."""
    try:
        date = parsedate_to_datetime(headers["date"])
    except (KeyError, ValueError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


@cache
def _client(allow_private: bool) -> httpx.Client:
    return guarded_client(allow_private=allow_private, allow_http=True)
