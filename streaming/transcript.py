"""What was said in a live session, put together from its final results."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from jobs.transcripts.results import Channel, Result, Utterance, Word
from streaming.models import FinalResult, LiveSession, heard


@dataclass(frozen=True, slots=True)
class Transcript:
    """As jobs.transcripts.exports has it. An utterance ends with `speech_final`, or with a channel's results.

    Speakers are numbered anew with each connection to the provider: the same number may be somebody else.
    """

    text: str
    confidence: float | None
    language: str
    words: list[Word]
    utterances: list[Utterance]
    channels: list[Channel]
    speakers: tuple[()] = ()


@dataclass(slots=True)
class _Voice:
    """One channel, as it is put together."""

    index: int
    words: list[Word] = field(default_factory=list)
    utterances: list[Utterance] = field(default_factory=list)
    open: list[tuple[FinalResult, Result]] = field(default_factory=list)

    def add(self, final: FinalResult, result: Result) -> None:
        if result.text:
            self.open.append((final, result))
        if final.speech_final:
            self.close()

    def close(self) -> None:
        if not self.open:
            return
        words = list(chain.from_iterable(result.words for _, result in self.open))
        self.words += words
        self.utterances.append(
            {
                "id": "",
                "start": words[0]["start"] if words else self.open[0][0].start,
                "end": words[-1]["end"] if words else self.open[-1][0].end,
                "confidence": _mean(words),
                "channel": self.index,
                "transcript": " ".join(result.text for _, result in self.open),
                "words": words,
            }
        )
        self.open = []


def transcript_of(session: LiveSession) -> Transcript:
    """What there is so far. Results that filled a hole later stand where they belong in time."""
    voices: dict[int, _Voice] = {}
    languages: list[str] = []
    for final, result in _in_time(session.finals.all()):
        voices.setdefault(final.channel, _Voice(final.channel)).add(final, result)
        languages.append(result.language)
    for voice in voices.values():
        voice.close()
        if len(voices) > 1:
            for word in voice.words:
                word["channel"] = voice.index
    in_order = sorted(voices.values(), key=lambda voice: voice.index)
    utterances = sorted(
        chain.from_iterable(voice.utterances for voice in in_order), key=lambda spoken: spoken["start"]
    )
    words = sorted(chain.from_iterable(voice.words for voice in in_order), key=lambda word: word["start"])
    language = max(filter(None, languages), key=languages.count, default="")
    return Transcript(
        text=("\n" if len(voices) > 1 else " ").join(spoken["transcript"] for spoken in utterances),
        confidence=_mean(words),
        language=language,
        words=words,
        utterances=utterances,
        channels=[
            {
                "index": voice.index,
                "text": " ".join(spoken["transcript"] for spoken in voice.utterances),
                "confidence": _mean(voice.words),
                "language": language,
                "words": voice.words,
            }
            for voice in in_order
        ],
    )


def _in_time(finals: Iterable[FinalResult]) -> Iterator[tuple[FinalResult, Result]]:
    for final in sorted(finals, key=lambda final: (final.start, final.seq)):
        message: dict[str, Any] = json.loads(final.raw)
        yield final, heard(message)


def _mean(words: list[Word]) -> float | None:
    known = [word["confidence"] for word in words if word["confidence"] is not None]
    return round(sum(known) / len(known), 4) if known else None
