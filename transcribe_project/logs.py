"""A line of the log: JSON for programs or text for people, without secrets, with the ids of what it tells of.

Ids are bound where a thing begins (structlog.contextvars.bound_contextvars), and are then on every line that
is logged of it, whoever logs it. docs/logging.md has their list.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import orjson
from structlog.contextvars import get_contextvars

from routing import tracing
from transcribe_project.redaction import redact


class JSONFormatter(logging.Formatter):
    """One object on one line: timestamp, level, logger, message, the ids, and exception if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, object] = {
            "timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            # Before it is JSON, whose quoting would hide what a secret looks like.
            "message": redact(record.getMessage()),
            **_ids(),
        }
        if record.exc_info:
            line["exception"] = redact(self.formatException(record.exc_info))
        return orjson.dumps(line, default=str).decode()


class TextFormatter(logging.Formatter):
    """Time, level, logger and message, and then the ids."""

    def __init__(self) -> None:
        super().__init__("{asctime} {levelname} {name} {message}", style="{")

    def formatMessage(self, record: logging.LogRecord) -> str:
        ids = "".join(f" {name}={value}" for name, value in _ids().items())
        return super().formatMessage(record) + ids

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def _ids() -> dict[str, object]:
    """Those that are known."""
    return {name: value for name, value in get_contextvars().items() if value != ""} | tracing.ids()
