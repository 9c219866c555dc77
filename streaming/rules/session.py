"""One live session: told what happened and what time it is, answers with what to do.

It does no input or output and owns no clock; the relay (streaming/relay.py) does. `handle` is called with one
event at a time; its actions are performed in their order before the next event. Times are seconds: `now` of
any monotonic clock, everything else of the client's audio, from the session's start to its end, whatever
becomes of connections in between.

A client that is not resumable gets Deepgram's messages and nothing of ours.
"""

from __future__ import annotations

import random as _random
from collections.abc import Callable
from dataclasses import dataclass

from streaming.rules.actions import Action, AudioMark
from streaming.rules.events import Event
from streaming.rules.parameters import Terms

Uniform = Callable[[float, float], float]


@dataclass(frozen=True, slots=True)
class Identity:
    """What a resumable client is told at first: the stream's id and the token to resume it by."""

    session_id: str
    token: str


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """Where a session goes on that another relay has begun, as it is stored.

    `seq`: the highest number that was stored or that the client has seen. `tail`: the stored messages of the
    last finals, in their order, at least those that end within `merge.MOST_REPLAY` seconds of the last end of
    each channel. `audio`: `resume_from` of the last stored final. `prelude`: `Session.prelude` of
    the relay before. `connection`: the highest number that a connection of the session had.
    """

    seq: int
    tail: tuple[str, ...]
    audio: AudioMark
    request_id: str
    connection: int
    prelude: bytes = b""


class Session:
    """The rules of one live session, from the handshake to `End`."""

    def __init__(
        self,
        terms: Terms,
        *,
        identity: Identity | None = None,
        resumed: ResumePoint | None = None,
        random: Uniform = _random.uniform,
    ) -> None:
        raise NotImplementedError

    def handle(self, event: Event, now: float) -> list[Action]:
        raise NotImplementedError

    @property
    def audio_seconds(self) -> float:
        """How much audio the client has sent."""
        raise NotImplementedError

    @property
    def reconnects(self) -> int:
        """How often the provider's socket was lost and replaced."""
        raise NotImplementedError

    @property
    def prelude(self) -> bytes:
        """What a container's audio cannot be understood without: its header. To be stored for a resume."""
        raise NotImplementedError
