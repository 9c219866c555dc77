"""Errors that are answers: what was asked for cannot be done, and whoever asked is told why."""

from __future__ import annotations

from typing import ClassVar


class Refusal(Exception):
    """`code` is stable, `message` says what to do about it; `status` is the HTTP status that goes with it."""

    status: ClassVar[int] = 400

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class NotAccepted(Refusal):
    """The work cannot be taken as it is asked for."""
