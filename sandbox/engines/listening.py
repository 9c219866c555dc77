"""The ear of a recogniser of passages: it hears where there is sound, and has what it keeps recognised."""

import threading
from collections.abc import Callable

import av
import numpy as np

from sandbox.audio import SAMPLE_BYTES, SAMPLE_RATE
from sandbox.engines.loudness import (
    CLICK_FRAMES,
    FRAME,
    SILENCE_LEVEL,
    SOUND_SHARE,
    Samples,
    levels_of,
    quietest,
    samples_of,
)
from sandbox.transcript import Word

WINDOW_SECONDS = 8.0
"""Longer passages are recognised better, and shorter ones are told sooner."""
DRIFT = 1.005
"""By how much the levels of quiet and of loud frames approach each other with each frame."""


class ListeningEar:
    slow = True
    hangover_seconds = 0.3

    def __init__(self, recognise: Callable[[float, Samples], list[Word]], sample_rate: int) -> None:
        """`recognise(start, samples)` gives the words of a passage at 16 kHz that begins at `start`. It may
        block,
        and so may words(); all else is quick, and may be called from another thread meanwhile."""
        self._recognise = recognise
        self._resampler: av.AudioResampler | None = None
        if sample_rate != SAMPLE_RATE:
            self._resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
        self._rate = sample_rate
        self._lock = threading.Lock()
        self._held = np.zeros(0, np.float32)
        """What was not forgotten, which begins at sample `_first`."""
        self._first = 0
        self._levelled = 0
        """Up to which sample the levels are known."""
        self._quiet_level, self._loud_level = 1.0, 0.0
        self._loud_frames = 0
        self._sounds: list[list[float]] = []
        """[start, end] of sounds in what is held."""

    @property
    def now(self) -> float:
        return (self._first + len(self._held)) / SAMPLE_RATE

    def window_seconds(self, start: float) -> float:
        return WINDOW_SECONDS

    def hear(self, pcm: bytes) -> list[tuple[float, bool]]:
        samples = samples_of(self._resampled(pcm))
        with self._lock:
            self._held = np.concatenate([self._held, samples])
            # What is forgotten may end within a frame that is not levelled yet.
            self._levelled = max(self._levelled, self._first)
            new = self._held[self._levelled - self._first :]
        changes: list[tuple[float, bool]] = []
        levels = levels_of(new)
        for level in levels.tolist():
            self._levelled += FRAME
            self._follow(level, self._levelled / SAMPLE_RATE, changes)
        return changes

    def cut(self, at: float, within: float) -> float:
        """The quietest instant of the time `within` before `at`; `at` itself in silence."""
        if not within or self._loud_frames <= CLICK_FRAMES:
            return at
        place = round(at * SAMPLE_RATE) - self._first
        seconds = min(within, place / SAMPLE_RATE / 2)
        return (self._first + quietest(self._held[:place], seconds)) / SAMPLE_RATE

    def words(self, until: float) -> list[Word]:
        with self._lock:
            samples = self._held[: round(until * SAMPLE_RATE) - self._first]
            start = self._first / SAMPLE_RATE
            silent = not any(begun < until for begun, _ in self._sounds)
        return [] if silent else self._recognise(start, samples)

    def forget(self, until: float) -> None:
        with self._lock:
            place = round(until * SAMPLE_RATE) - self._first
            self._held = self._held[place:]
            self._first += place
            self._sounds = [sound for sound in self._sounds if sound[1] > until]

    def flush(self) -> None:
        pass

    def _follow(self, level: float, now: float, changes: list[tuple[float, bool]]) -> None:
        """Takes in the level of the frame that ends `now`."""
        self._quiet_level = min(level, self._quiet_level * DRIFT)
        self._loud_level = max(level, self._loud_level / DRIFT)
        threshold = self._quiet_level + SOUND_SHARE * (self._loud_level - self._quiet_level)
        if level > max(threshold, SILENCE_LEVEL):
            self._loud_frames += 1
            if self._loud_frames == CLICK_FRAMES + 1:
                begun = now - self._loud_frames * FRAME / SAMPLE_RATE
                changes.append((begun, True))
                self._sounds.append([begun, now])
        else:
            if self._loud_frames > CLICK_FRAMES:
                changes.append((now - FRAME / SAMPLE_RATE, False))
            self._loud_frames = 0
        if self._loud_frames > CLICK_FRAMES:
            if not self._sounds:
                # It goes on after it was forgotten in its middle.
                self._sounds.append([now - FRAME / SAMPLE_RATE, now])
            self._sounds[-1][1] = now

    def _resampled(self, pcm: bytes) -> bytes:
        if self._resampler is None or not pcm:
            return pcm
        frame = av.AudioFrame(format="s16", layout="mono", samples=len(pcm) // SAMPLE_BYTES)
        frame.planes[0].update(pcm.ljust(frame.planes[0].buffer_size, b"\0"))
        frame.sample_rate = self._rate
        blocks = self._resampler.resample(frame)
        return b"".join(bytes(block.planes[0])[: block.samples * SAMPLE_BYTES] for block in blocks)
