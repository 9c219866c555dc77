"""Real, offline recognition of English with moonshine-voice, whose wheel carries the model.

The model is fed windows of up to 28 s, cut where it is quietest, with its own voice detection off: that cuts
in mid-sentence, and on the sample recordings a passage recognised whole had fewer errors. It gives text
without word times; words are spread over the parts of the window in which there is sound (transcript.spread).
"""

import threading
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import moonshine_voice
import numpy as np
from moonshine_voice.transcriber import Transcriber

from sandbox.audio import SAMPLE_RATE, Audio
from sandbox.engines import EngineUnavailable
from sandbox.engines.listening import ListeningEar
from sandbox.engines.loudness import Samples, quietest, samples_of, spoken
from sandbox.response import ModelInfo
from sandbox.transcript import Word, spread

WINDOW_SECONDS = 28
CUT_SECONDS = 10
"""A window is cut at the quietest instant of its last seconds."""

MARGIN_SECONDS = 0.5
"""What is left of the silence around the speech of a window; more of it makes the model invent words."""

DIARIZE_SECONDS = 600
"""Speakers are told apart within so much audio at a time; in longer recordings they are counted anew."""

CONFIDENCE = 0.9
"""The model gives none."""


class MoonshineEngine:
    slow = True

    def __init__(self) -> None:
        """Loads the model, about 0.6 s. Raises EngineUnavailable."""
        try:
            self._recogniser = _transcriber(vad_threshold="0.0", return_audio_data="false")
        except moonshine_voice.MoonshineError as error:
            raise EngineUnavailable(str(error)) from error
        self._diarizer: Any = None
        # One passage at a time: the model uses all cores, and a long recording must not hold up a short one.
        self._recogniser_lock = threading.Lock()
        self._diarizer_lock = threading.Lock()
        self.model = ModelInfo("moonshine tiny-en", version("moonshine-voice"), "moonshine")

    def transcribe(self, audio: Audio, channel: int | None, *, diarize: bool) -> list[Word]:
        words: list[Word] = []
        for start, samples in windows(audio.pcm(channel)):
            words += self._recognise(start, samples)
        return self._with_speakers(words, audio, channel) if diarize else words

    def listen(self, sample_rate: int) -> ListeningEar:
        return ListeningEar(self._recognise, sample_rate)

    def _recognise(self, start: float, samples: Samples) -> list[Word]:
        stretches = spoken(samples)
        if not stretches:
            return []
        begin, end = max(0.0, stretches[0][0] - MARGIN_SECONDS), stretches[-1][1] + MARGIN_SECONDS
        passage = samples[int(begin * SAMPLE_RATE) : int(end * SAMPLE_RATE)]
        with self._recogniser_lock:
            transcript = self._recogniser.transcribe_without_streaming(passage.tolist(), SAMPLE_RATE)
        text = " ".join(line.text for line in transcript.lines)
        return spread(text, [(start + a, start + b) for a, b in stretches], CONFIDENCE)

    def _with_speakers(self, words: list[Word], audio: Audio, channel: int | None) -> list[Word]:
        """Gives each word the speaker of the span that its middle is in or nearest to."""
        spans = list(self._speaker_spans(audio, channel))
        if not spans:
            return words

        def speaker(word: Word) -> int:
            middle = (word.start + word.end) / 2
            return min(spans, key=lambda span: max(span[0] - middle, middle - span[1], 0.0))[2]

        numbers: dict[int, int] = {}
        return [replace(word, speaker=numbers.setdefault(speaker(word), len(numbers))) for word in words]

    def _speaker_spans(self, audio: Audio, channel: int | None) -> Iterator[tuple[float, float, int]]:
        """(start, end, speaker), with numbers that mean nothing by themselves."""
        for start, samples in windows(audio.pcm(channel), seconds=DIARIZE_SECONDS):
            with self._diarizer_lock:
                if self._diarizer is None:
                    self._diarizer = _transcriber(
                        identify_speakers="true", skip_transcription="true", return_audio_data="false"
                    )
                transcript = self._diarizer.transcribe_without_streaming(samples.tolist(), SAMPLE_RATE)
            for line in transcript.lines:
                for span in line.speaker_spans or []:
                    begin = start + span.start_time
                    yield begin, begin + span.duration, span.speaker_id


def _transcriber(**options: str) -> Any:
    path = moonshine_voice.get_model_path("tiny-en")
    return Transcriber(str(path), moonshine_voice.ModelArch.TINY, options=options)


def windows(blocks: Iterator[bytes], seconds: int = WINDOW_SECONDS) -> Iterator[tuple[float, Samples]]:
    """(start in seconds, samples as floats) of passages no longer than `seconds`, cut where it is quiet."""
    limit, done, held, size = seconds * SAMPLE_RATE, 0, [], 0
    for block in blocks:
        held.append(samples_of(block))
        size += len(held[-1])
        while size >= limit:
            samples = np.concatenate(held)
            cut = quietest(samples[:limit], CUT_SECONDS)
            yield done / SAMPLE_RATE, samples[:cut]
            done += cut
            held = [samples[cut:]]
            size -= cut
    if size:
        yield done / SAMPLE_RATE, np.concatenate(held)
