"""What a live session asks the relay to do, in the order given."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

# Not frozen, though nobody changes them: they are made for every message, and freezing doubles the cost.


class EndReason(StrEnum):
    """How a session ended; stored with its row."""

    FINISHED = "finished"  # the client closed its stream and has had everything
    CLIENT_GONE = "client_gone"  # it vanished, did not come back, and what it had sent is transcribed
    SUPERSEDED = "superseded"  # goes on in another relay: the row does not end
    MOVED = "moved"  # told to reconnect elsewhere: the row does not end unless nobody comes
    REFUSED = "refused"  # the provider would refuse this request again
    UNAVAILABLE = "unavailable"  # no provider could be reached for too long
    BAD_AUDIO = "bad_audio"  # the provider cannot decode it (close code 1008)
    TOO_SLOW = "too_slow"  # the client did not read
    DRAINED = "drained"  # this server stopped; the client could not be moved

    @property
    def is_interruption(self) -> bool:
        """Whether the session may go on elsewhere: the row becomes interrupted, not ended."""
        return self in (EndReason.SUPERSEDED, EndReason.MOVED)


@dataclass(slots=True)
class AudioMark:
    """A place in the client's audio: its byte (of binary payload) and its seconds from the start."""

    byte: int
    seconds: float


@dataclass(slots=True)
class Accept:
    """Answer the client's handshake. `request_id` (may be empty) is the session's from now on."""

    request_id: str


@dataclass(slots=True)
class Refuse:
    """Refuse the client's handshake, with the provider's status and message. `End` follows."""

    status: int
    message: str


@dataclass(slots=True)
class Connect:
    """Open a provider's socket in `after` seconds, and call it `connection` in its events.

    `failures`: connections and handshakes that failed since the last final result; the relay chooses another
    permitted region by them.
    """

    connection: int
    after: float
    failures: int = 0


@dataclass(slots=True)
class Disconnect:
    """Close the provider's socket without waiting for it; of its events none counts any more.

    `hangs`: since it says nothing, which is to be held against it as if it had broken.
    """

    connection: int
    hangs: bool = False


@dataclass(slots=True)
class SendAudio:
    """A binary message to the provider; never empty."""

    data: bytes


@dataclass(slots=True)
class SendText:
    """A text message to the provider."""

    text: str


@dataclass(slots=True)
class Deliver:
    """A text message to the client, as it is.

    `heard_until`: for results, the second of the client's audio up to which it covers, else None.
    """

    text: str
    heard_until: float | None = None
    is_final: bool = False


@dataclass(slots=True)
class StoreFinal:
    """A final result to be stored; answered by `FinalsStored` when it and all before it are.

    `text` is the message as the client gets it (the session's time, `seq` only if the client is resumable),
    `start` and `end` its window in seconds. `resume_from`: where a client whom this result is acknowledged
    to has to go on from; everything before it is final on all channels.
    """

    seq: int
    channel: int
    start: float
    end: float
    text: str
    resume_from: AudioMark
    connection: int
    late: bool = False


@dataclass(slots=True)
class FillLate:
    """Have the batch path transcribe this stretch; answered by `HoleFilled`.

    `audio` begins at second `heard_from` and reaches as far beyond the hole as is known, so that words at its
    edges are heard whole; it is in the encoding of the session (containers with their header).
    """

    start: float
    end: float
    heard_from: float
    audio: bytes


@dataclass(slots=True)
class DeclareGap:
    """Seconds of audio of which there will be no transcript; to be stored."""

    start: float
    end: float


@dataclass(slots=True)
class Report:
    """The provider's side has changed: `connected`, `reconnecting` or `moving`; for the row and the log."""

    state: str


@dataclass(slots=True)
class Interrupted:
    """The client is gone and may come back: the row is interrupted from now on."""


@dataclass(slots=True)
class PauseClient:
    """Read nothing more from the client: it sends faster than audio is spoken."""


@dataclass(slots=True)
class ResumeClient:
    """Read from the client again."""


@dataclass(slots=True)
class CloseClient:
    """Close the client's socket, after what was delivered before. Codes: docs/live.md."""

    code: int
    reason: str = ""


@dataclass(slots=True)
class Wake:
    """Send `Ticked` at this instant of the clock. Replaces the one asked for before."""

    at: float


@dataclass(slots=True)
class End:
    """Nothing comes after this: close what is open, store what is not stored."""

    reason: EndReason


Action = (
    Accept
    | Refuse
    | Connect
    | Disconnect
    | SendAudio
    | SendText
    | Deliver
    | StoreFinal
    | FillLate
    | DeclareGap
    | Report
    | Interrupted
    | PauseClient
    | ResumeClient
    | CloseClient
    | Wake
    | End
)
