"""Scripted words: no speech is recognised, and the model's name says so.

Speech of tones (tones.py) is heard as what it says, live and in recordings. Any other recording gets words by
its length: time is cut into slots of 0.4 s, and of ten slots the first eight carry a word each, a sentence;
then comes a pause of two slots, long enough to end an utterance. The word of a slot is its own, so that
whoever reads a transcript can see what was lost, repeated or moved.
"""

from sandbox.audio import SAMPLE_RATE, Audio
from sandbox.engines.tones import ToneEar, word_of
from sandbox.response import ModelInfo
from sandbox.transcript import Word, spread

SLOT_SECONDS = 0.4
WORD_SECONDS = 0.35
SENTENCE_SLOTS = 10
SENTENCE_WORDS = 8
CONFIDENCE = 0.98
LISTEN_SECONDS = 10.0
"""What has not turned out to be speech of tones by then is none."""
CHANNEL_STRIDE = 5000
"""Slots between the words of one channel and of the next: 33 minutes before they meet."""


class ScriptedEngine:
    model = ModelInfo("scripted (no speech recognition)", "1", "scripted")
    slow = False

    def __init__(self) -> None:
        self.transcript: str | None = None
        """When set, the text of every recording, spread over its length."""

    def transcribe(self, audio: Audio, channel: int | None, *, diarize: bool) -> list[Word]:
        if self.transcript is not None:
            return spread(self.transcript, [(0.0, audio.duration)], CONFIDENCE)
        words = _heard(audio, channel or 0) or words_between(0.0, audio.duration, channel or 0)
        return words if diarize else [Word(word.text, word.start, word.end, CONFIDENCE) for word in words]

    def listen(self, sample_rate: int) -> ToneEar:
        return ToneEar(sample_rate)


def _heard(audio: Audio, channel: int) -> list[Word]:
    """The words of a recording that is speech of tones. One that begins with zeros is not even decoded."""
    ear = ToneEar(SAMPLE_RATE)
    for number, block in enumerate(audio.pcm(channel)):
        if number == 0 and not block.strip(b"\0"):
            return []
        ear.hear(block)
        if ear.now > LISTEN_SECONDS and not ear.understands:
            return []
    ear.flush()
    return ear.words(ear.now) if ear.understands else []


def words_between(start: float, end: float, channel: int = 0) -> list[Word]:
    """The words that lie wholly between two instants. Speakers 0 and 1 take turns by sentence."""
    slot = max(0, round(start / SLOT_SECONDS) - 1)
    words = []
    while (begin := slot * SLOT_SECONDS) + WORD_SECONDS <= end + 1e-6:
        place = slot % SENTENCE_SLOTS
        if place < SENTENCE_WORDS and begin >= start - 1e-6:
            text = word_of(slot + channel * CHANNEL_STRIDE)
            if place == 0:
                text = text.capitalize()
            if place == SENTENCE_WORDS - 1:
                text += "."
            speaker = slot // SENTENCE_SLOTS % 2
            words.append(Word(text, begin, begin + WORD_SECONDS, CONFIDENCE, speaker))
        slot += 1
    return words
