"""Speech of tones: words that the scripted engine really hears, and that a test can write down before.

A syllable is a tone of 0.15 s with a pitch of its own, a word is its syllables without a break, and words are
0.05 s apart. What is heard depends on the audio alone, wherever a stream begins: audio that is sent again is
heard again as the same words at the same places, a word cut in two as the syllables that are left, silence as
nothing. The tones survive mulaw, alaw and opus. Other sounds are heard as babble.

Hearing costs a few microseconds per 100 ms: a pitch is a count of zero crossings, and counting, searching and
telling loud from quiet are operations of `bytes`.
"""

import math
import re
from array import array
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise

from sandbox.transcript import Word

CONFIDENCE = 0.98
SYLLABLES = [consonant + vowel for consonant in "bdfgjklmnprstvwz" for vowel in "aeiou"]
SYLLABLE_SECONDS = 0.15
WORD_GAP = 0.05
PAUSES = {",": 0.4, ".": 0.85}
"""Seconds of silence after a word that ends so, in place of the gap."""
SENTENCE_WORDS = 8

LOWEST, STEP = 30, 4
"""Periods of the first syllable's tone, and how many more each further one has: 200 Hz to 2.3 kHz."""
VOLUME = 16_000
SENTENCE_PAUSE = 0.1
"""A silence of so much ends a sentence."""
HUM = b"\x10\x00" * 20 + b"\xf0\xff" * 20
QUIET_SECONDS = 0.02
"""Silences shorter than this are part of a sound."""
CLEAN = 0.3
"""Clear words are off by less, in syllables of length and of pitch."""
WINDOW_SECONDS = 4.0
BABBLE_SYLLABLES = 4
"""A sound that goes on longer is cut into words of so many syllables."""

# The high byte of a sample -> quiet (0), positive (1) or negative (2).
SIGNS = bytes([0, 0] + [1] * 126 + [2] * 126 + [0, 0])
QUIET_IS_POSITIVE = bytes([1, 1, 2]) + bytes(253)
UPWARDS = b"\2\1"
"""Where a tone crosses zero upwards, once in each period."""
EDGE = 0.1


def word_of(number: int) -> str:
    """A pronounceable word of at least two syllables, another for each number."""
    number, last = divmod(number, len(SYLLABLES))
    number, middle = divmod(number, len(SYLLABLES))
    first = word_of(number - 1) if number else ""
    return first + SYLLABLES[middle] + SYLLABLES[last]


def text_of(count: int, first: int = 0) -> str:
    """`count` words, all different, in sentences of eight."""
    words = [word_of(number) for number in range(first, first + count)]
    sentences = [words[start : start + SENTENCE_WORDS] for start in range(0, count, SENTENCE_WORDS)]
    return " ".join(" ".join(sentence).capitalize() + "." for sentence in sentences)


def spoken_words(text: str, start: float = 0.0) -> list[Word]:
    """The words of `text` where said() puts them. The engine hears a full stop at every pause."""
    words = []
    for written in text.split():
        end = start + len(_syllables(written)) * SYLLABLE_SECONDS
        words.append(Word(written, start, end, CONFIDENCE))
        start = end + PAUSES.get(written[-1], WORD_GAP)
    return words


def said(text: str, sample_rate: int = 16_000) -> bytes:
    """`text` spoken: 16-bit little-endian samples of one channel. Raises ValueError for other syllables.

    A word that ends in a comma is followed by 0.4 s of silence, one that ends in a full stop by 0.85 s.
    """
    parts = []
    for written in text.split():
        parts += [_tone(syllable, sample_rate) for syllable in _syllables(written)]
        parts.append(silence(PAUSES.get(written[-1], WORD_GAP), sample_rate))
    return b"".join(parts)


def silence(seconds: float, sample_rate: int = 16_000) -> bytes:
    """A faint hum, as of a room. Recordings that begin with zeros are not listened to (scripted.py)."""
    size = 2 * round(seconds * sample_rate)
    return (HUM * (size // len(HUM) + 1))[:size]


def _syllables(written: str) -> list[int]:
    bare = Word(written, 0, 0, 0).bare
    pairs = re.findall("..", bare)
    if "".join(pairs) != bare or not set(pairs) <= set(SYLLABLES):
        raise ValueError(f"{written!r} has other syllables than ba, be, bi … zu")
    return [SYLLABLES.index(pair) for pair in pairs]


@lru_cache(maxsize=1024)
def _tone(syllable: int, sample_rate: int) -> bytes:
    samples = round(SYLLABLE_SECONDS * sample_rate)
    step = 2 * math.pi * (LOWEST + STEP * syllable) / samples
    return array("h", (round(VOLUME * math.sin(step * (n + 0.5))) for n in range(samples))).tobytes()


class ToneEar:
    """Listens to one channel of a stream. Times are seconds from the start of the stream."""

    slow = False
    hangover_seconds = SENTENCE_PAUSE

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._syllable = SYLLABLE_SECONDS * sample_rate
        self._longest = round(BABBLE_SYLLABLES * self._syllable)
        self._silence = bytes(round(QUIET_SECONDS * sample_rate))
        self._heard = 0
        self._sound = b""
        """The signs of the sound that goes on, from where its current word began."""
        self._words: list[Word] = []
        self._sounds = self._clean = 0
        """How many words were heard, and how many of them as clearly as only said() speaks."""
        self._last_end = -SENTENCE_PAUSE

    @property
    def now(self) -> float:
        return self._heard / self._rate

    def hear(self, pcm: bytes) -> list[tuple[float, bool]]:
        """Takes in 16-bit samples. The instants at which sound began (True) or ended (False), in order."""
        signs = pcm[1::2].translate(SIGNS)
        changes: list[tuple[float, bool]] = []
        while signs:
            if not self._sound:
                sound = signs.lstrip(b"\0")
                self._heard += len(signs) - len(sound)
                if not sound:
                    break
                changes.append((self.now, True))
                signs = sound
            # The silence may have begun in what was heard before.
            known = len(self._sound)
            self._sound += signs
            self._heard += len(signs)
            end = self._sound.find(self._silence, max(0, known - len(self._silence)))
            if end < 0:
                self._break_up()
                break
            began = self._heard - len(self._sound)
            signs = self._sound[end + len(self._silence) :]
            self._sound = self._sound[:end]
            self._heard = began + end
            self._break_up()
            self._end_word()
            changes.append((self.now, False))
            self._heard += len(self._silence)
        return changes

    @property
    def understands(self) -> bool:
        """Whether most of what was heard is speech of tones, and not babble."""
        return 2 * self._clean > self._sounds

    def window_seconds(self, start: float) -> float:
        return WINDOW_SECONDS

    def cut(self, at: float, within: float) -> float:
        """The last instant up to `at` that lies in no word, however far: what tests count are whole words."""
        for word in reversed(self._words):
            if word.start < at < word.end:
                return word.start
        if self._sound:
            return min(at, self._began / self._rate)
        return at

    def words(self, until: float) -> list[Word]:
        """Those that were heard out by then, since the last forget(). A pause ends a sentence."""
        words = [word for word in self._words if word.end <= until + 1e-6]
        if words and until - words[-1].end >= SENTENCE_PAUSE - 1e-6:
            words[-1] = replace(words[-1], text=words[-1].text + ".")
        for index, (word, following) in enumerate(pairwise(words)):
            if following.start - word.end >= SENTENCE_PAUSE - 1e-6:
                words[index] = replace(word, text=word.text + ".")
        return words

    def forget(self, until: float) -> None:
        self._words = [word for word in self._words if word.end > until + 1e-6]

    def flush(self) -> None:
        """Takes the sound that goes on as ended: nothing more comes."""
        self._end_word()

    @property
    def _began(self) -> int:
        return self._heard - len(self._sound)

    def _break_up(self) -> None:
        while len(self._sound) > self._longest + self._syllable / 2:
            began = self._began
            self._take(self._sound[: self._longest], began)
            self._sound = self._sound[self._longest :]

    def _end_word(self) -> None:
        self._take(self._sound, self._began)
        self._sound = b""

    def _take(self, sound: bytes, began: int) -> None:
        count = round(len(sound) / self._syllable)
        # What a stream began in the middle of is known by its end.
        first = 0 if began else len(sound) - count * self._syllable
        edges = [max(0, round(first + number * self._syllable)) for number in range(count)] + [len(sound)]
        pitches = [self._pitch(sound[start:end]) for start, end in pairwise(edges)]
        if not pitches:
            return
        numbers = [min(max(round(pitch), 0), len(SYLLABLES) - 1) for pitch in pitches]
        clean = abs(len(sound) - count * self._syllable) < CLEAN * self._syllable
        self._clean += clean and all(abs(p - n) < CLEAN for p, n in zip(pitches, numbers, strict=True))
        self._sounds += 1

        text = "".join(SYLLABLES[number] for number in numbers)
        start, end = began / self._rate, (began + len(sound)) / self._rate
        if start - self._last_end >= SENTENCE_PAUSE - 1e-6:
            text = text.capitalize()
        self._last_end = end
        self._words.append(Word(text, start, end, CONFIDENCE))

    def _pitch(self, signs: bytes) -> float:
        """The number of the syllable with this tone, and what it is beside it."""
        # At its edges a codec lets a tone ring into the next.
        edge = round(len(signs) * EDGE)
        middle = signs[edge : len(signs) - edge].translate(QUIET_IS_POSITIVE)
        crossings = middle.count(UPWARDS)
        if crossings < 2:
            return 0.0
        periods = (crossings - 1) / (middle.rfind(UPWARDS) - middle.find(UPWARDS)) * self._syllable
        return (periods - LOWEST) / STEP
