"""Recognisers. An engine turns the samples of one channel into words."""

from typing import Protocol

from sandbox.audio import Audio
from sandbox.engines.scripted import ScriptedEngine
from sandbox.live.segments import Ear
from sandbox.response import ModelInfo
from sandbox.transcript import Word


class EngineUnavailable(Exception):
    """This machine cannot run the engine; the message says why."""


class Engine(Protocol):
    model: ModelInfo
    slow: bool
    """Whether the ears of listen() are."""

    def transcribe(self, audio: Audio, channel: int | None, *, diarize: bool) -> list[Word]:
        """The words of one channel, or of all mixed down when `channel` is None, in order.

        Blocks; called from several worker threads at once. Raises CorruptAudio.
        """

    def listen(self, sample_rate: int) -> Ear:
        """An ear for one channel of a live stream."""


def choose(name: str) -> Engine:
    """The engine called `name`. `auto` is moonshine where it runs, else scripted.

    Raises EngineUnavailable when moonshine was asked for by name and cannot run here.
    """
    if name != "scripted":
        try:
            # moonshine-voice and the numpy that it brings have no wheels for some platforms.
            from sandbox.engines.moonshine import MoonshineEngine

            return MoonshineEngine()
        except (ImportError, OSError, EngineUnavailable) as error:
            if name == "moonshine":
                raise EngineUnavailable(str(error)) from error
    return ScriptedEngine()
