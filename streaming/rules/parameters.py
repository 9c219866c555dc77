"""What the query of `WS /v1/listen` asks of us and of the provider.

Deepgram ignores parameters that it does not know, and so do we: only those of the allow-list are forwarded.
Whether their values make sense is for the provider to say, in its own words, at the handshake.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

FORWARDED = frozenset(
    {
        # Deepgram's AsyncAPI document, channel listen/v1.
        "channels",
        "detect_entities",
        "diarize",
        "diarize_model",
        "dictation",
        "encoding",
        "endpointing",
        "extra",
        "interim_results",
        "keyterm",
        "keywords",
        "language",
        "language_hint",
        "model",
        "multichannel",
        "numerals",
        "profanity_filter",
        "punctuate",
        "redact",
        "replace",
        "sample_rate",
        "search",
        "smart_format",
        "utterance_end_ms",
        "vad_events",
        "version",
        # Not in the document, but sent by SDKs and understood.
        "alternatives",
        "filler_words",
        "no_delay",
        "tier",
    }
)
# `mip_opt_out` and `tag` are the project's to set, and not the client's; the relay adds them.

MOST_THROTTLE_MS = 10_000
MOST_CHANNELS = 20  # Deepgram's limit for multichannel audio


class BadParameter(ValueError):
    """The query cannot be served. The message tells the client what would be right."""

    def __init__(self, name: str, message: str) -> None:
        self.name = name
        self.message = message
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Terms:
    """What was asked for. `forwarded`: the provider's part of the query, in the order given.

    `encoding` is None for containers, which the provider recognises by their first bytes; `sample_rate` is
    None where it is missing or no number. `channels` counts what gets results of its own: 1 unless
    multichannel.
    """

    forwarded: tuple[tuple[str, str], ...]
    encoding: str | None = None
    sample_rate: int | None = None
    audio_channels: int = 1
    multichannel: bool = False
    tags: tuple[str, ...] = ()
    record: bool = False
    resumable: bool = False
    resume: str | None = None
    last_seq: int = 0
    interim_throttle: float = 0.0  # seconds between interims of one channel, at the least

    @property
    def channels(self) -> int:
        return self.audio_channels if self.multichannel else 1

    @property
    def options(self) -> dict[str, str | list[str]]:
        """What was forwarded, as it is kept with the session: a list where a parameter was repeated."""
        options: dict[str, str | list[str]] = {}
        for name, value in self.forwarded:
            match options.get(name):
                case None:
                    options[name] = value
                case str(first):
                    options[name] = [first, value]
                case list(values):
                    values.append(value)
        return options


def read(query: Iterable[tuple[str, str]]) -> Terms:
    """Read a query's pairs, decoded; raise BadParameter for what no live session can do."""
    pairs = [(name.strip(), value) for name, value in query]
    if any("\0" in part for pair in pairs for part in pair):
        raise BadParameter("", "The query has NUL (%00) in it, which nothing may.")
    given = dict(pairs)  # the last of each wins, as it does at Deepgram
    for name in ("callback", "callback_method"):
        if name in given:
            raise BadParameter(
                name, f"{name} cannot be used on a live socket: results are sent on the socket itself."
            )
    return Terms(
        forwarded=tuple((name, value) for name, value in pairs if name in FORWARDED),
        encoding=given.get("encoding", "").lower() or None,
        sample_rate=_whole(given.get("sample_rate"), most=1_000_000),
        audio_channels=_whole(given.get("channels"), most=MOST_CHANNELS) or 1,
        multichannel=_flag(given.get("multichannel")),
        tags=tuple(value for name, value in pairs if name == "tag" and value),
        record=_own_flag(given, "record"),
        resumable=_own_flag(given, "resumable") or bool(given.get("resume")),
        resume=given.get("resume") or None,
        last_seq=_own_number(given, "last_seq", most=2**53),
        interim_throttle=_own_number(given, "interim_throttle_ms", most=MOST_THROTTLE_MS) / 1000,
    )


def _flag(value: str | None) -> bool:
    return (value or "").strip().lower() == "true"


def _whole(value: str | None, *, most: int) -> int | None:
    """A positive number; None for anything else, which the provider then refuses."""
    if value is None or not value.isascii() or not value.isdigit() or len(value) > 15:
        return None
    return int(value) if 0 < int(value) <= most else None


def _own_flag(given: dict[str, str], name: str) -> bool:
    """A flag that the provider does not see: who writes it otherwise would miss what it asks for too late."""
    value = given.get(name, "").strip().lower()
    if value not in ("", "true", "false"):
        raise BadParameter(name, f"{name} must be true or false.")
    return value == "true"


def _own_number(given: dict[str, str], name: str, *, most: int) -> int:
    """A number of a parameter that the provider does not see, so that refusing it is ours."""
    value = given.get(name, "0")
    if not value.isascii() or not value.isdigit() or len(value) > 16 or int(value) > most:
        raise BadParameter(name, f"{name} must be a whole number between 0 and {most}.")
    return int(value)
