"""Messages of a later connection on the session's time, and results without their first words.

Deepgram counts from 0 on every connection. What carries seconds: `start` and `end` of words and search hits,
`start` of a result, `last_word_end` of UtteranceEnd, `timestamp` of SpeechStarted.
"""

from __future__ import annotations

from collections.abc import Iterator

from streaming.rules.merge import Spoken
from streaming.rules.messages import number

Message = dict[str, object]

_DECIMALS = 6  # as Deepgram writes durations; sums of fractions end in noise


def shift(message: Message, seconds: float) -> None:
    """Move everything in a message by `seconds`."""
    for name in ("start", "timestamp", "last_word_end"):
        value = message.get(name)
        # UtteranceEnd without a word says -1.
        if isinstance(value, int | float) and not (name == "last_word_end" and value < 0):
            message[name] = _moved(value, seconds)
    for timed in _timed(message):
        for name in ("start", "end"):
            if name in timed:
                timed[name] = _moved(number(timed[name]), seconds)


def words(message: Message) -> list[Spoken]:
    """The words of a result's best alternative."""
    for alternative in _alternatives(message):
        return [
            Spoken(
                str(word.get("punctuated_word") or word.get("word") or ""),
                number(word.get("start")),
                number(word.get("end")),
            )
            for word in _objects(alternative.get("words"))
        ]
    return []


def keep(message: Message, part: slice, start: float, end: float) -> None:
    """Reduce a result to the window [start, end) and to these words of its best alternative.

    Of further alternatives, whose words are others, stays what lies within the window.
    """
    message["start"] = round(start, _DECIMALS)
    message["duration"] = round(max(0.0, end - start), _DECIMALS)
    first, count = part.indices(len(words(message)))[:2]
    for index, alternative in enumerate(_alternatives(message)):
        spoken = _objects(alternative.get("words"))
        kept = spoken[part] if index == 0 else [word for word in spoken if start <= _middle(word) < end]
        if len(kept) < len(spoken):
            alternative["words"] = kept
            alternative["transcript"] = " ".join(
                str(word.get("punctuated_word") or word.get("word") or "") for word in kept
            )
            alternative.pop("paragraphs", None)  # of the whole text
            if not kept:
                alternative["confidence"] = 0.0  # as Deepgram says of silence
    _keep_entities(message, first, count)
    for timed in _timed(message):
        for name in ("start", "end"):
            if name in timed:
                timed[name] = min(max(number(timed[name]), start), max(start, end))


def _keep_entities(message: Message, first: int, end: int) -> None:
    """Entities point at words by their numbers; `end_word` is one more than the last."""
    entities = message.get("entities")
    if not isinstance(entities, list):
        return
    kept = []
    for entity in _objects(entities):
        start_word, end_word = entity.get("start_word"), entity.get("end_word")
        if not isinstance(start_word, int) or not isinstance(end_word, int):
            kept.append(entity)
        elif first <= start_word and end_word <= end:
            entity["start_word"], entity["end_word"] = start_word - first, end_word - first
            kept.append(entity)
    message["entities"] = kept


def _timed(message: Message) -> Iterator[Message]:
    for alternative in _alternatives(message):
        yield from _objects(alternative.get("words"))
    channel = message.get("channel")
    for search in _objects(channel.get("search") if isinstance(channel, dict) else None):
        yield from _objects(search.get("hits"))


def _alternatives(message: Message) -> list[Message]:
    channel = message.get("channel")
    return _objects(channel.get("alternatives")) if isinstance(channel, dict) else []


def _objects(value: object) -> list[Message]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _middle(word: Message) -> float:
    return (number(word.get("start")) + number(word.get("end"))) / 2


def _moved(value: float, seconds: float) -> float:
    return round(value + seconds, _DECIMALS)
