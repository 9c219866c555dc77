"""Words in time -> the JSON of Deepgram's `/v1/listen`. Pure.

The shapes are those of Deepgram's OpenAPI document (ListenV1Response), and of its answers where the document
is silent: `punctuated_word` and `speaker` on a channel's words, `metadata.extra`, `language_confidence`.
"""

import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sandbox.query import ListenOptions
from sandbox.transcript import Word, occurrences, redacted, respelled, substituted

SENTENCES_PER_PARAGRAPH = 5
PARAGRAPH_PAUSE = 2.0


@dataclass(frozen=True)
class ModelInfo:
    """Names the recogniser that really ran, whatever model was asked for."""

    name: str
    version: str
    arch: str

    @property
    def uuid(self) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.name}/{self.version}"))

    def as_json(self) -> dict[str, str]:
        return {"name": self.name, "version": self.version, "arch": self.arch}


def transcription(
    channels: Sequence[Sequence[Word]],
    options: ListenOptions,
    *,
    request_id: str,
    created: datetime,
    sha256: str,
    duration: float,
    model: ModelInfo,
) -> dict[str, Any]:
    """The whole answer. `channels` holds one list of words per channel that was recognised."""
    channels = [as_asked(words, options) for words in channels]
    metadata: dict[str, Any] = {
        "transaction_key": "deprecated",
        "request_id": request_id,
        "sha256": sha256,
        "created": created.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "duration": round(duration, 6),
        "channels": len(channels),
        "models": [model.uuid],
        "model_info": {model.uuid: model.as_json()},
    }
    if options.diarize:
        metadata["diarize_info"] = {"model_uuid": model.uuid, "arch": model.arch}
    if options.tags:
        metadata["tags"] = options.tags
    if options.extra:
        metadata["extra"] = options.extra

    results: dict[str, Any] = {"channels": [_channel(words, options) for words in channels]}
    if options.utterances:
        utterances = [
            _utterance(part, number, options)
            for number, words in enumerate(channels)
            for part in _split_into_utterances(words, options)
        ]
        results["utterances"] = sorted(utterances, key=lambda utterance: utterance["start"])
    return {"metadata": metadata, "results": results}


def as_asked(words: Sequence[Word], options: ListenOptions) -> Sequence[Word]:
    # A recogniser that cannot be told of a term can still be made to spell it as the caller does.
    for term in options.keyterms:
        words = respelled(words, term)
    for phrase, replacement in options.replacements:
        words = substituted(words, phrase, replacement)
    return redacted(words) if options.redact else words


def _channel(words: Sequence[Word], options: ListenOptions) -> dict[str, Any]:
    alternative: dict[str, Any] = {
        "transcript": text(words, options),
        "confidence": confidence(words),
        "words": [_word(word, options) for word in words],
    }
    if options.language == "multi":
        alternative["languages"] = ["en"] if words else []
    if options.paragraphs:
        alternative["paragraphs"] = _paragraphs(words, options)

    channel: dict[str, Any] = {}
    if options.search:
        channel["search"] = [_search(words, query) for query in options.search]
    channel["alternatives"] = [alternative]
    if options.detect_language:
        channel |= {"detected_language": "en", "language_confidence": 0.99 if words else 0.0}
    return channel


def _word(word: Word, options: ListenOptions) -> dict[str, Any]:
    result: dict[str, Any] = {
        "word": word.bare,
        "start": round(word.start, 3),
        "end": round(word.end, 3),
        "confidence": word.confidence,
    }
    if options.diarize:
        result |= {"speaker": word.speaker, "speaker_confidence": word.confidence}
    if options.punctuate:
        result["punctuated_word"] = word.text
    if options.language == "multi":
        result["language"] = "en"
    return result


def text(words: Sequence[Word], options: ListenOptions) -> str:
    return " ".join(word.text if options.punctuate else word.bare for word in words)


def confidence(words: Sequence[Word]) -> float:
    return round(sum(word.confidence for word in words) / len(words), 6) if words else 0.0


def _split_into_utterances(words: Sequence[Word], options: ListenOptions) -> Iterator[Sequence[Word]]:
    """Cuts at pauses of at least `utt_split` seconds, and where the speaker changes when told apart."""
    begin = 0
    for index in range(1, len(words)):
        before, word = words[index - 1], words[index]
        paused = word.start - before.end >= options.utt_split
        if paused or (options.diarize and word.speaker != before.speaker):
            yield words[begin:index]
            begin = index
    if words:
        yield words[begin:]


def _utterance(words: Sequence[Word], channel: int, options: ListenOptions) -> dict[str, Any]:
    utterance: dict[str, Any] = {
        "start": round(words[0].start, 3),
        "end": round(words[-1].end, 3),
        "confidence": confidence(words),
        "channel": channel,
        "transcript": text(words, options),
        "words": [_word(word, options) for word in words],
        "id": str(uuid.uuid4()),
    }
    if options.diarize:
        utterance["speaker"] = words[0].speaker
    return utterance


def _paragraphs(words: Sequence[Word], options: ListenOptions) -> dict[str, Any]:
    paragraphs, texts = [], []
    for sentences in _split_into_paragraphs(list(_split_into_sentences(words, options)), options):
        first, last = sentences[0][0], sentences[-1][-1]
        paragraph: dict[str, Any] = {
            "sentences": [
                {
                    "text": text(sentence, options),
                    "start": round(sentence[0].start, 3),
                    "end": round(sentence[-1].end, 3),
                }
                for sentence in sentences
            ],
            "num_words": sum(len(sentence) for sentence in sentences),
            "start": round(first.start, 3),
            "end": round(last.end, 3),
        }
        written = " ".join(sentence["text"] for sentence in paragraph["sentences"])
        if options.diarize:
            paragraph["speaker"] = first.speaker
            written = f"Speaker {first.speaker}: {written}"
        paragraphs.append(paragraph)
        texts.append(written)
    return {"transcript": "\n" + "\n\n".join(texts) if texts else "", "paragraphs": paragraphs}


def _split_into_sentences(words: Sequence[Word], options: ListenOptions) -> Iterator[Sequence[Word]]:
    begin = 0
    for index, word in enumerate(words):
        last = index + 1 == len(words)
        turn = not last and options.diarize and words[index + 1].speaker != word.speaker
        if last or turn or re.search(r"[.?!]$", word.text):
            yield words[begin : index + 1]
            begin = index + 1


def _split_into_paragraphs(
    sentences: Sequence[Sequence[Word]], options: ListenOptions
) -> Iterator[Sequence[Sequence[Word]]]:
    begin = 0
    for index in range(1, len(sentences)):
        before, first = sentences[index - 1][-1], sentences[index][0]
        turn = options.diarize and first.speaker != before.speaker
        paused = first.start - before.end >= PARAGRAPH_PAUSE
        if turn or paused or index - begin == SENTENCES_PER_PARAGRAPH:
            yield sentences[begin:index]
            begin = index
    if sentences:
        yield sentences[begin:]


def _search(words: Sequence[Word], query: str) -> dict[str, Any]:
    """Exact hits only; Deepgram's search is by sound and also returns near misses."""
    hits = []
    for start in occurrences(words, query):
        found = words[start : start + len(query.split())]
        hits.append(
            {
                "confidence": 1.0,
                "start": round(found[0].start, 3),
                "end": round(found[-1].end, 3),
                "snippet": " ".join(word.bare for word in found),
            }
        )
    return {"query": query, "hits": hits}
