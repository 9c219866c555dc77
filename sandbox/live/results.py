"""Deepgram's live messages. Pure. The shapes are those of its AsyncAPI document (ListenV1)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sandbox.live.segments import Window
from sandbox.query import ListenOptions
from sandbox.response import ModelInfo, as_asked, confidence, text
from sandbox.transcript import Word

SPEAKERS = 2


class Messages:
    """Those of one connection."""

    def __init__(self, options: ListenOptions, request_id: str, model: ModelInfo) -> None:
        self.options = options
        self.channels = 0
        """How many are heard; none before there is audio."""
        self._request_id = request_id
        self._model = model
        self._metadata: dict[str, Any] = {
            "request_id": request_id,
            "model_info": model.as_json(),
            "model_uuid": model.uuid,
        }
        if options.extra:
            self._metadata["extra"] = options.extra

    def results(self, channel: int, window: Window, words: Sequence[Word]) -> dict[str, Any]:
        words = as_asked(words, self.options)
        alternative: dict[str, Any] = {
            "transcript": text(words, self.options),
            "confidence": confidence(words),
            "words": [self._word(word, window) for word in words],
        }
        if self.options.language == "multi":
            alternative["languages"] = ["en"] if words else []
        return {
            "type": "Results",
            "channel_index": [channel, self.channels],
            "duration": round(window.end - window.start, 6),
            "start": round(window.start, 6),
            "is_final": window.is_final,
            "speech_final": window.speech_final,
            "channel": {"alternatives": [alternative]},
            "metadata": self._metadata,
            "from_finalize": window.from_finalize,
        }

    def speech_started(self, channel: int, at: float) -> dict[str, Any]:
        return {"type": "SpeechStarted", "channel": [channel, self.channels], "timestamp": round(at, 6)}

    def utterance_end(self, channel: int, last_word_end: float) -> dict[str, Any]:
        return {
            "type": "UtteranceEnd",
            "channel": [channel, self.channels],
            "last_word_end": round(last_word_end, 3),
        }

    def metadata(self, created: datetime, duration: float, sha256: str) -> dict[str, Any]:
        """The last message. Without audio it names no model."""
        models = [self._model.uuid] if duration else []
        return {
            "type": "Metadata",
            "transaction_key": "deprecated",
            "request_id": self._request_id,
            "sha256": sha256,
            "created": created.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "duration": round(duration, 6),
            "channels": self.channels,
            "models": models,
            "model_info": {uuid: self._model.as_json() for uuid in models},
        }

    def error(self, text: str, description: str) -> dict[str, Any]:
        """The answer to a text that is no message."""
        return {"type": "Error", "variant": "SchemaError", "description": description, "message": text}

    def configured(self, keyterms: list[str]) -> dict[str, Any]:
        return {"type": "ConfigureSuccess", "request_id": self._request_id, "keyterms": keyterms}

    def not_configured(self, code: str, description: str) -> dict[str, Any]:
        return {
            "type": "ConfigureFailure",
            "request_id": self._request_id,
            "code": code,
            "description": description,
        }

    def _word(self, word: Word, window: Window) -> dict[str, Any]:
        result: dict[str, Any] = {
            "word": word.bare,
            "start": round(word.start, 3),
            "end": round(word.end, 3),
            "confidence": word.confidence,
        }
        if self.options.punctuate:
            result["punctuated_word"] = word.text
        if self.options.diarize:
            # Speakers are told apart by their turns, and anew on each connection, as Deepgram counts them.
            result["speaker"] = window.utterance % SPEAKERS
        if self.options.language == "multi":
            result["language"] = "en"
        return result
