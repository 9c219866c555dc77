"""What can happen to a live session. The relay tells it, one event at a time.

Provider events carry the number of the connection they come from, as `Connect` gave it, so that what a socket
still says after it was given up is not taken for its successor's.
"""

from __future__ import annotations

from dataclasses import dataclass

# Not frozen, though nobody changes them: they are made for every message, and freezing doubles the cost.


@dataclass(slots=True)
class Opened:
    """The client's handshake was found good; it is not answered yet. The first event of every session."""


@dataclass(slots=True)
class ClientAudio:
    """A binary message. An empty one ends the stream, as `CloseStream` does."""

    data: bytes


@dataclass(slots=True)
class ClientText:
    """A text message as it came: KeepAlive, Finalize, CloseStream, Configure, or anything else."""

    text: str


@dataclass(slots=True)
class ClientGone:
    """The client's socket is closed, by whomever and however. Nothing can be sent to it any more."""


@dataclass(slots=True)
class ClientBlocked:
    """The client does not read: what waits to be sent to it has passed the relay's mark."""


@dataclass(slots=True)
class ClientFlowing:
    """The client reads again: what waited to be sent to it has gone."""


@dataclass(slots=True)
class ProviderConnected:
    connection: int
    request_id: str
    """The provider's `dg-request-id`."""


@dataclass(slots=True)
class ProviderRefused:
    """The handshake failed. `status` is None when there was no HTTP answer: no route, reset, timeout.

    `message` is the provider's own.
    """

    connection: int
    status: int | None
    message: str = ""


@dataclass(slots=True)
class ProviderMessage:
    connection: int
    text: str


@dataclass(slots=True)
class ProviderClosed:
    """The provider's socket is closed. `code` is 1006 if there was no close frame (RFC 6455, 7.1.5)."""

    connection: int
    code: int
    reason: str = ""


@dataclass(slots=True)
class FinalsStored:
    """Every final result up to and with number `seq` is in the database."""

    seq: int


@dataclass(slots=True)
class HoleFilled:
    """The batch path has transcribed a hole (`FillLate`), or has given up on it (`results` empty, `failed`).

    `results`: messages of type Results, one for each channel that has words, in the session's time.
    """

    start: float
    end: float
    results: list[str]
    failed: bool = False


@dataclass(slots=True)
class Ticked:
    """The instant asked for by the last `Wake` has come. Early or needless ticks do no harm."""


@dataclass(slots=True)
class Draining:
    """This server is to stop. Those who can are moved; the others have `within` seconds to end."""

    within: float


@dataclass(slots=True)
class Superseded:
    """Another process has taken the session over (its epoch is higher): nothing may be stored any more."""


Event = (
    Opened
    | ClientAudio
    | ClientText
    | ClientGone
    | ClientBlocked
    | ClientFlowing
    | ProviderConnected
    | ProviderRefused
    | ProviderMessage
    | ProviderClosed
    | FinalsStored
    | HoleFilled
    | Ticked
    | Draining
    | Superseded
)
