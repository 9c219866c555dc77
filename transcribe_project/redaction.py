"""What never reaches a log: secrets that we know, and whatever looks like one.

It works on the finished line, traceback included, so that no logger has to think of it: ours, Django's,
Celery's, uvicorn's, those of libraries. It cannot know what is secret in a text of its own: transcripts and
metadata are kept out of logs by not logging them.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections.abc import Iterator
from functools import lru_cache
from types import TracebackType
from urllib.parse import unquote, urlsplit

from django.apps import apps
from django.conf import settings
from django.views.debug import SafeExceptionReporterFilter

logger = logging.getLogger(__name__)

REDACTED = "[redacted]"
# Shorter ones would be found in innocent words.
SHORTEST_KNOWN = 8

# Each in time that grows with the line and no faster: whoever sends us a long one must not stop us.
_PATTERNS = [
    # A header with its value, as it is sent and as Python shows pairs and mappings.
    (
        r"""\b(authorization|sec-websocket-protocol|cookie)(b?["']?\s{0,3}[:=,]\s{0,3}b?["']?)[^"'\r\n]+""",
        rf"\1\2{REDACTED}",
    ),
    (r"\b(token|bearer|basic)(,? )[\w.~+/=-]{16,}", rf"\1\2{REDACTED}"),
    (r"\bwhsec_[\w+/=-]+", f"whsec_{REDACTED}"),
    # Our keys: the prefix tells which it was.
    (r"\b([a-z0-9]{8})\.[a-z0-9]{43}\b", rf"\1.{REDACTED}"),
    # PostgreSQL's errors quote the row, and the statement with its values.
    (r"\b(DETAIL|LINE \d{1,5}|CONTEXT):\s[^\r\n]+", rf"\1: {REDACTED}"),
    # Deepgram's keys.
    (r"\b[0-9a-f]{40}\b", REDACTED),
    # What is called a secret, in a query, a mapping or a call.
    (
        r"""((?:token|secret|passw(?:or)?d|api[_-]?key|signature|credential)[\w-]{0,20}["']?\s{0,3}[=:]"""
        r"""\s{0,3}b?["']?)(?!\[redacted\]|None\b)[^\s"'&,;)}\]]+""",
        rf"\1{REDACTED}",
    ),
]
_AFTER_SCHEME = re.compile(r"://[^\s\"'<>]+")
_COMPILED = [(re.compile(pattern, re.IGNORECASE), instead) for pattern, instead in _PATTERNS]


def redact(text: str) -> str:
    """The text without secrets."""
    for secret in (*_known_secrets(), *_keys_of_regions()):
        text = text.replace(secret, REDACTED)
    text = _AFTER_SCHEME.sub(_bare, text)
    for pattern, instead in _COMPILED:
        text = pattern.sub(instead, text)
    return text


def _bare(url: re.Match[str]) -> str:
    """Without user and password, and without the query, which is the signature of a signed one."""
    location, asked, _ = url[0].removeprefix("://").partition("?")
    authority, slash, path = location.partition("/")
    if "@" in authority:
        authority = f"{REDACTED}@{authority.rpartition('@')[2]}"
    return f"://{authority}{slash}{path}{asked}{REDACTED if asked else ''}"


@lru_cache(maxsize=1)
def _known_secrets() -> tuple[str, ...]:
    """Those of the settings, the longest first, since one may be a part of another."""
    urls = settings.DATABASE_URL, settings.REDIS_URL, *settings.REDIS_CLUSTER_URL
    passwords = [urlsplit(url).password or "" for url in urls if "@" in url]
    candidates = {
        settings.SECRET_KEY,
        settings.DEEPGRAM_API_KEY,
        settings.METRICS_TOKEN,
        settings.EMAIL_HOST_PASSWORD or "",
        *settings.ENCRYPTION_KEYS,
        *passwords,
        *map(unquote, passwords),
        *(str(region.get("api_key", "")) for region in settings.REGIONS if isinstance(region, dict)),
    }
    return tuple(sorted((each for each in candidates if _is_secret(each)), key=len, reverse=True))


def _keys_of_regions() -> Iterator[str]:
    """Those of the regions that this process has read."""
    if apps.models_ready:
        from routing.regions import all_regions

        yield from (each.api_key for each in (all_regions.known or {}).values() if _is_secret(each.api_key))


def _is_secret(key: str) -> bool:
    return len(key) >= SHORTEST_KNOWN


def log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """sys.excepthook: Python would write to standard error itself."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        logger.critical("This process ends by an error.", exc_info=(kind, error, trace))


def log_uncaught_in_thread(told: threading.ExceptHookArgs) -> None:
    """threading.excepthook: the same for threads."""
    name = told.thread.name if told.thread else "?"
    trace = (told.exc_type, told.exc_value, told.exc_traceback)
    logger.error("Thread %s ended by an error.", name, exc_info=trace)  # type: ignore[arg-type]


class ReportFilter(SafeExceptionReporterFilter):
    """What the pages of DEBUG hide, beside what Django does: settings whose values have passwords in them."""

    hidden_settings = re.compile(
        f"{SafeExceptionReporterFilter.hidden_settings.pattern}|_URL|DATABASES|REGIONS|CHANNEL_LAYERS|CACHES",
        re.IGNORECASE,
    )


class WithoutTraceback(logging.Filter):
    """For what is told in full by its message."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.exc_info = None
        return True
