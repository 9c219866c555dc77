"""What Deepgram's answer to a recording says, in the shapes that transcripts are stored in.

The answer's form, `{"metadata": {}, "results": {"channels": [{"alternatives": []}], "utterances": []}}`,
is that of Deepgram's OpenAPI document. What is not kept here, such as summaries, topics and further
alternatives, stays in the stored answer.

    MalformedAnswer     code "provider_malformed_answer": not JSON, cut short, or not of that form
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NotRequired, TypedDict


class MalformedAnswer(ValueError):
    """The provider answered with something that is not a transcription result."""

    code = "provider_malformed_answer"

    def __init__(self, message: str) -> None:
        self.message = message
        super().__init__(message)


class Word(TypedDict):
    """A word as Deepgram gives it, times in seconds; `channel` only if there are several."""

    word: str
    start: float
    end: float
    confidence: float | None
    punctuated_word: NotRequired[str]
    speaker: NotRequired[int]
    speaker_confidence: NotRequired[float]
    language: NotRequired[str]
    channel: NotRequired[int]
    # Said by a person: it begins a paragraph, or does not, whatever pause is before it.
    paragraph: NotRequired[bool]


class Utterance(TypedDict):
    id: str
    start: float
    end: float
    confidence: float | None
    channel: int
    transcript: str
    words: list[Word]
    speaker: NotRequired[int]


class Channel(TypedDict):
    index: int
    text: str
    confidence: float | None
    language: str
    words: list[Word]


@dataclass(frozen=True, slots=True)
class Result:
    """What was said. Without speech, text and lists are empty and confidence is None.

    `text` has one line for each utterance when several channels were transcribed (one for each channel if no
    utterances were asked for); `words` and `utterances` are in the order of their start. `language` is empty
    unless the answer tells it, which it does only for detect_language and language=multi. `models` holds
    names such as "general-nova-3", or Deepgram's id where the name is missing.
    """

    text: str
    confidence: float | None
    language: str
    duration: float | None
    words: list[Word]
    utterances: list[Utterance]
    channels: list[Channel]
    request_id: str
    models: list[str]
    # Whom people call the voices: nobody has, yet.
    speakers: tuple[()] = ()


def parse(answer: bytes | Mapping[str, object]) -> Result:
    """Read Deepgram's answer, as bytes of JSON or already loaded; raise MalformedAnswer and nothing else."""
    document = _object(_load(answer) if isinstance(answer, bytes) else answer, "the answer")
    results = _object(document.get("results"), "results")
    metadata = _object(document.get("metadata") or {}, "metadata")

    heard = _list(results.get("channels"), "channels")
    channels = [_channel(index, entry) for index, entry in enumerate(heard)]
    utterances = [_utterance(entry) for entry in _list(results.get("utterances") or [], "utterances")]
    utterances.sort(key=lambda utterance: utterance["start"])
    if len(channels) > 1:
        _mark_channels(channels, utterances)

    words = [word for channel in channels for word in channel["words"]]
    words.sort(key=lambda word: word["start"])
    return Result(
        text=merged_text(channels, utterances),
        confidence=_overall_confidence(channels),
        language=_most_common(channel["language"] for channel in channels),
        duration=_number(metadata.get("duration")),
        words=words,
        utterances=utterances,
        channels=channels,
        request_id=_text(metadata.get("request_id"))[:100],  # its column ends there
        models=_model_names(metadata),
    )


def _load(answer: bytes) -> object:
    try:
        return json.loads(answer)
    except (
        ValueError,
        RecursionError,
    ):  # not JSON, not UTF-8, a number of thousands of digits, absurd nesting
        cut_short = answer.lstrip()[:1] == b"{" and answer.rstrip()[-1:] != b"}"
        wrong = f"cut short after {len(answer)} bytes" if cut_short else "not JSON"
        raise MalformedAnswer(f"The provider's answer is {wrong}.") from None


def _channel(index: int, entry: object) -> Channel:
    channel = _object(entry, "a channel")
    alternatives = _list(channel.get("alternatives"), "alternatives")
    best = _object(alternatives[0] if alternatives else {}, "an alternative")
    words = _words(best)
    return {
        "index": index,
        "text": _transcript(best, words),
        "confidence": _number(best.get("confidence")),
        "language": _language(channel.get("detected_language"))
        or _most_common(word.get("language", "") for word in words)
        or _first_language(best.get("languages")),
        "words": words,
    }


def _utterance(entry: object) -> Utterance:
    source = _object(entry, "an utterance")
    words = _words(source)
    start, end = _span(source, "an utterance")
    utterance: Utterance = {
        "id": _text(source.get("id")),
        "start": start,
        "end": end,
        "confidence": _number(source.get("confidence")),
        "channel": _ordinal(source.get("channel")) or 0,
        "transcript": _transcript(source, words),
        "words": words,
    }
    if (speaker := _ordinal(source.get("speaker"))) is not None:
        utterance["speaker"] = speaker
    return utterance


def _words(source: Mapping[str, object]) -> list[Word]:
    entries = [_object(entry, "a word") for entry in _list(source.get("words") or [], "words")]
    words = [word for entry in entries if (word := _word(entry))["word"]]
    words.sort(key=lambda word: word["start"])
    return words


def _word(source: Mapping[str, object]) -> Word:
    spoken = _text(source.get("word"))
    punctuated = _text(source.get("punctuated_word"))
    start, end = _span(source, "a word")
    word: Word = {
        "word": spoken or punctuated,
        "start": start,
        "end": end,
        "confidence": _number(source.get("confidence")),
    }
    if punctuated:
        word["punctuated_word"] = punctuated
    if (speaker := _ordinal(source.get("speaker"))) is not None:
        word["speaker"] = speaker
    if (speaker_confidence := _number(source.get("speaker_confidence"))) is not None:
        word["speaker_confidence"] = speaker_confidence
    if language := _language(source.get("language")):
        word["language"] = language
    return word


def _mark_channels(channels: list[Channel], utterances: list[Utterance]) -> None:
    for channel in channels:
        for word in channel["words"]:
            word["channel"] = channel["index"]
    for utterance in utterances:
        for word in utterance["words"]:
            word["channel"] = utterance["channel"]


def merged_text(channels: list[Channel], utterances: list[Utterance]) -> str:
    """The only channel's text; of several a line for each utterance or, without any, for each channel."""
    if len(channels) == 1:
        return channels[0]["text"]
    parts = [utterance["transcript"] for utterance in utterances] or [channel["text"] for channel in channels]
    return "\n".join(part for part in parts if part)


def _overall_confidence(channels: list[Channel]) -> float | None:
    """Each channel's confidence, weighted by its words: a silent channel says 0.0 and means nothing by it."""
    heard = [
        (channel["confidence"], len(channel["words"]) or 1)
        for channel in channels
        if channel["text"] and channel["confidence"] is not None
    ]
    total = sum(weight for _, weight in heard)
    if not total:
        return None
    # Four decimals: the provider's own have few more, and sums of fractions end in noise.
    return round(sum(confidence * weight for confidence, weight in heard) / total, 4)


def _model_names(metadata: Mapping[str, object]) -> list[str]:
    described = metadata.get("model_info")
    known = described if isinstance(described, dict) else {}
    ids = metadata.get("models")
    names = []
    for model in ids if isinstance(ids, list) else list(known):
        info = known.get(model) if isinstance(model, str) else None
        names.append(_text(info.get("name") if isinstance(info, dict) else None) or _text(model))
    return [name for name in names if name]


def _transcript(source: Mapping[str, object], words: list[Word]) -> str:
    spoken = (word.get("punctuated_word", word["word"]) for word in words)
    return _text(source.get("transcript")) or " ".join(spoken)


def _most_common(languages: Iterable[str]) -> str:
    counted = Counter(language for language in languages if language)
    return counted.most_common(1)[0][0] if counted else ""


def _first_language(languages: object) -> str:
    return _language(languages[0]) if isinstance(languages, list) and languages else ""


def _language(value: object) -> str:
    tag = _text(value)
    return tag if len(tag) <= 20 else ""  # a BCP 47 tag; no longer one is in use, and the column ends there


def _span(source: Mapping[str, object], what: str) -> tuple[float, float]:
    start, end = _number(source.get("start")), _number(source.get("end"))
    if start is None or end is None:
        raise MalformedAnswer(f"The provider's answer has {what} without times.")
    start = max(start, 0.0)
    return start, max(start, end)


def _object(value: object, what: str) -> Mapping[str, object]:
    if isinstance(value, Mapping):
        return value
    raise MalformedAnswer(f"The provider's answer is not a result: {what} is missing or not an object.")


def _list(value: object, what: str) -> list[object]:
    if isinstance(value, list):
        return value
    raise MalformedAnswer(f"The provider's answer is not a result: {what} is missing or not a list.")


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None  # Python reads NaN and 1e999; no database stores them


def _ordinal(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31:
        return value
    return None


def _text(value: object) -> str:
    """The string without what neither PostgreSQL nor UTF-8 can hold: NUL and lone surrogates."""
    if not isinstance(value, str):
        return ""
    if value.isprintable():
        return value
    return value.replace("\0", "").encode("utf-8", "replace").decode("utf-8")
