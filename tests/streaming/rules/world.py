"""A client, a session and a provider in one thread, with a clock that jumps from one event to the next.

The audio says of itself where it is from: each sample of it is its own number, so the provider knows what it
hears, and notices what is missing.
"""

from __future__ import annotations

import heapq
import itertools
import json
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from streaming.rules import actions, events, timeline
from streaming.rules.merge import Spoken, fit_hole
from streaming.rules.parameters import read
from streaming.rules.session import Identity, Limits, ResumePoint, Session
from tests.streaming.rules.recogniser import Hearing, Recogniser, Window

RATE = 100  # samples per second
CHUNK = 0.1  # seconds
LATENCY = 0.15  # seconds: the provider's
HANDSHAKE = 0.05
STORING = 0.05
REQUEST_ID = "session-of-{}"


def audio(start: float, end: float) -> bytes:
    first, last = round(start * RATE), round(end * RATE)
    return struct.pack(f"<{last - first}H", *range(first, last))


@dataclass
class Upstream:
    """One connection at the provider."""

    number: int
    opened_at: float
    is_open: bool = True
    hangs: bool = False
    base: float | None = None
    heard: float = 0.0
    hearing: Hearing | None = None
    said_interim: float = 0.0
    texts: list[str] = field(default_factory=list)
    received: list[tuple[float, float]] = field(default_factory=list)  # (instant, seconds)


class World:
    """Streams `seconds` of speech through a session. Subclass or pass hooks to disturb it."""

    def __init__(
        self,
        recogniser: Recogniser,
        chance: random.Random,
        *,
        seconds: float,
        query: str = "",
        limits: Limits | None = None,
        obeys_finalize: bool = True,
        speed: float = 1.0,
    ) -> None:
        self.recogniser = recogniser
        self.chance = chance
        self.seconds = seconds
        self.obeys_finalize = obeys_finalize
        self.speed = speed
        pairs = [("encoding", "linear16"), ("sample_rate", str(RATE)), ("interim_results", "true")]
        pairs += [tuple(pair.split("=")) for pair in query.split("&") if pair]
        self.terms = read(pairs)
        self.limits = limits
        self.now = 1000.0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self.upstreams: dict[int, Upstream] = {}
        self.upstream: Upstream | None = None
        self.refusals: list[int | None] = []  # answers to the next handshakes: a status, None for no answer
        self.done: list[actions.Action] = []
        self.stored: list[actions.StoreFinal] = []
        self._unstored: list[actions.StoreFinal] = []
        self._open_holes: list[actions.FillLate] = []
        self.client: list[dict[str, Any]] = []
        self.fills_holes = True
        self.ended: actions.EndReason | None = None
        self.ended_at = 0.0
        self.sent_bytes = 0
        self.paused = False
        self.client_gone = False
        self.acknowledged = 0
        self.resumes = 0
        self._speaks_since = self.now
        self._wake: int | None = None
        self.session = self._new_session(None)

    def _new_session(self, resumed: ResumePoint | None) -> Session:
        identity = Identity("stream", "TOKEN") if self.terms.resumable else None
        return Session(
            self.terms, identity=identity, resumed=resumed, limits=self.limits, random=self.chance.uniform
        )

    # Time

    def at(self, instant: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (instant, next(self._count), what))

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        self.at(self.now + seconds, what)

    def run(self, *, until: float = 10_000.0) -> World:
        """To the session's end, or until so many seconds have passed."""
        end = 1000.0 + until
        while self._queue and self.ended is None and self._queue[0][0] <= end:
            self.now, _, what = heapq.heappop(self._queue)
            what()
        return self

    # The relay

    def tell(self, event: events.Event) -> None:
        if self.ended is None:
            for action in self.session.handle(event, self.now):
                self.perform(action)

    def perform(self, action: actions.Action) -> None:
        self.done.append(action)
        match action:
            case actions.Connect(connection, after):
                self.after(after + HANDSHAKE, lambda: self._handshake(connection))
            case actions.Disconnect(connection):
                if connection in self.upstreams:
                    self.upstreams[connection].is_open = False
            case actions.SendAudio(data):
                assert data
                self._hears(self._current(), data)
            case actions.SendText(text):
                self._told(self._current(), json.loads(text))
            case actions.Deliver(text):
                assert not self.client_gone
                self.client.append(message := json.loads(text))
                if message["type"] == "Ack":
                    assert message["audio_bytes"] >= self.acknowledged
                    self.acknowledged = message["audio_bytes"]
                if message["type"] == "Session":
                    assert message["audio_offset"] >= self.acknowledged, "the client has forgotten that audio"
                    self.sent_bytes = message["audio_offset"]
                    self.after(0.01, partial(self._speak, self.session))
            case actions.StoreFinal():
                self._unstored.append(action)
                self.after(STORING, partial(self._store, action))
            case actions.FillLate():
                self._open_holes.append(action)
                self.after(2.0, partial(self._fill, action, self.session))
            case actions.Wake(instant):
                self._wake = next(self._count)
                heapq.heappush(self._queue, (instant, self._wake, self._ticker(self._wake)))
            case actions.PauseClient():
                self.paused = True
            case actions.ResumeClient():
                self.paused = False
            case actions.CloseClient():
                self.client_gone = True
            case actions.End(reason):
                self.ended, self.ended_at = reason, self.now
                self.stored += self._unstored
                self._fill_orphans()

    def _ticker(self, number: int) -> Callable[[], None]:
        return lambda: self.tell(events.Ticked()) if self._wake == number else None

    def _store(self, final: actions.StoreFinal) -> None:
        if final in self._unstored:  # else another has taken over
            self._unstored.remove(final)
            self.stored.append(final)
            self.tell(events.FinalsStored(final.seq))

    # The client

    def start(self) -> World:
        self.at(self.now, lambda: self.tell(events.Opened()))
        if not self.terms.resumable:
            self.at(self.now + 2 * HANDSHAKE, partial(self._speak, self.session))
        self._speaks_since = self.now + 2 * HANDSHAKE
        return self

    def lose_client(self, away: float, *, with_server: bool = False) -> None:
        """The client's network breaks, or the server is killed; it comes back and resumes elsewhere."""
        if self.client_gone or self.ended is not None:
            return
        self.client_gone = True
        if with_server:
            self._resume()
        else:
            self.tell(events.ClientGone())
            self.after(away, self._resume)

    def _resume(self) -> None:
        if self.ended is not None:
            return
        if self.upstream is not None:
            self.upstream.is_open = False
        self._unstored.clear()
        last = self.stored[-1] if self.stored else None
        self._wake = None
        self.session = self._new_session(
            ResumePoint(
                seq=last.seq if last else 0,
                tail=tuple(final.text for final in self.stored if final.end > self.stored[-1].end - 15.0),
                audio=last.resume_from if last else actions.AudioMark(0, 0.0),
                request_id=self.session.request_id,
                connection=self.session.connection,
            )
        )
        self.resumes += 1
        self.client_gone = self.paused = False
        self.tell(events.Opened())

    def _speak(self, session: Session) -> None:
        if self.client_gone or self.ended is not None or session is not self.session:
            return
        if self.paused:
            self.after(CHUNK, partial(self._speak, session))
            return
        start = self.sent_bytes / 2 / RATE
        if start >= self.seconds:
            self.tell(events.ClientText('{"type":"CloseStream"}'))
            return
        data = audio(start, min(start + CHUNK, self.seconds))
        self.sent_bytes += len(data)
        self.tell(events.ClientAudio(data))
        spoken_at = self._speaks_since + self.sent_bytes / 2 / RATE / self.speed
        self.at(max(self.now + 0.001, spoken_at), partial(self._speak, session))

    # The provider

    def _current(self) -> Upstream:
        assert self.upstream is not None and self.upstream.is_open, "sent to a connection that is closed"
        return self.upstream

    def _handshake(self, connection: int) -> None:
        if self.refusals:
            self.tell(events.ProviderRefused(connection, self.refusals.pop(0), "refused"))
            return
        if connection != self.session.connection:
            return  # given up meanwhile
        self.upstream = self.upstreams[connection] = Upstream(connection, self.now)
        self.tell(events.ProviderConnected(connection, REQUEST_ID.format(connection)))

    def drop(self, code: int = 1006) -> None:
        """The provider's socket breaks, if there is one."""
        if self.upstream is not None and self.upstream.is_open:
            self.upstream.is_open = False
            self.tell(events.ProviderClosed(self.upstream.number, code))

    def hang(self) -> None:
        """The provider's socket takes everything and says nothing more."""
        for upstream in self.upstreams.values():
            upstream.hangs = True

    def _hears(self, upstream: Upstream, data: bytes) -> None:
        numbers = struct.unpack(f"<{len(data) // 2}H", data)
        if upstream.base is None:
            upstream.base = upstream.heard = upstream.said_interim = numbers[0] / RATE
            upstream.hearing = self.recogniser.connect(self.chance, upstream.base)
        assert numbers == tuple(range(numbers[0], numbers[0] + len(numbers))), "samples are missing"
        assert numbers[0] == round(upstream.heard * RATE), "audio is missing"
        upstream.heard = (numbers[-1] + 1) / RATE
        upstream.received.append((self.now, len(numbers) / RATE))
        assert upstream.hearing is not None
        for window in upstream.hearing.hear(upstream.heard):
            self._result(upstream, window, is_final=True)
            upstream.said_interim = window.end
        if upstream.heard >= upstream.said_interim + 1.0:
            upstream.said_interim = upstream.heard
            self._result(upstream, upstream.hearing.interim(), is_final=False)

    def _told(self, upstream: Upstream, message: dict[str, Any]) -> None:
        upstream.texts.append(message["type"])
        match message["type"]:
            case "Finalize" if self.obeys_finalize and upstream.hearing is not None:
                self._result(upstream, upstream.hearing.finalize(), is_final=True, from_finalize=True)
            case "CloseStream":
                if upstream.hearing is not None:
                    self._result(upstream, upstream.hearing.finalize(), is_final=True)
                duration = upstream.heard - (upstream.base or 0.0)
                metadata = {"type": "Metadata", "request_id": "", "duration": duration, "channels": 1}
                self._says(upstream, metadata)
                self.after(LATENCY + 0.02, lambda: self._closes(upstream))

    def _closes(self, upstream: Upstream) -> None:
        if upstream.is_open and not upstream.hangs:
            upstream.is_open = False
            self.tell(events.ProviderClosed(upstream.number, 1000))

    def _result(
        self, upstream: Upstream, window: Window, *, is_final: bool, from_finalize: bool = False
    ) -> None:
        message = result(window, -(upstream.base or 0.0), is_final=is_final, from_finalize=from_finalize)
        message["metadata"] = {"request_id": REQUEST_ID.format(upstream.number)}
        self._says(upstream, message)

    def _says(self, upstream: Upstream, message: dict[str, Any]) -> None:
        def arrive() -> None:
            if upstream.is_open and not upstream.hangs:
                self.tell(events.ProviderMessage(upstream.number, json.dumps(message)))

        self.after(LATENCY, arrive)

    def _fill(self, wanted: actions.FillLate, session: Session) -> None:
        if session is not self.session:
            return
        if self.fills_holes:
            text = json.dumps(result(self._heard_late(wanted), 0.0, is_final=True))
            self.tell(events.HoleFilled(wanted.start, wanted.end, [text]))
        else:
            self.tell(events.HoleFilled(wanted.start, wanted.end, [], failed=True))

    def _heard_late(self, wanted: actions.FillLate) -> Window:
        numbers = struct.unpack(f"<{len(wanted.audio) // 2}H", wanted.audio)
        assert numbers == tuple(range(numbers[0], numbers[0] + len(numbers))), "samples are missing"
        assert round(wanted.heard_from * RATE) == numbers[0]
        hearing = self.recogniser.connect(self.chance, numbers[0] / RATE)
        end = (numbers[-1] + 1) / RATE
        windows = [*hearing.hear(end), hearing.finalize()]
        return Window(numbers[0] / RATE, end, tuple(heard for window in windows for heard in window.heard))

    def _fill_orphans(self) -> None:
        """Holes whose relay is gone are filled after the end, by whoever finds them in the database."""
        filled = {final.start for final in self.stored if final.late}
        for wanted in self._open_holes:
            if wanted.start in filled or not self.fills_holes:
                continue
            heard = self._heard_late(wanted)
            before = [word for final in self._live() if final.end <= wanted.start for word in _words(final)]
            after = [word for final in self._live() if final.start >= wanted.end for word in _words(final)]
            hole, whole = (wanted.start, wanted.end), (heard.start, heard.end)
            part = fit_hole(before[-20:], heard.words, after[:20], hole, whole)
            window = Window(wanted.start, wanted.end, heard.heard[part])
            text = json.dumps(result(window, 0.0, is_final=True))
            mark = actions.AudioMark(0, 0.0)
            self.stored.append(actions.StoreFinal(0, 0, wanted.start, wanted.end, text, mark, 0, late=True))

    def _live(self) -> list[actions.StoreFinal]:
        return [final for final in self.stored if not final.late]

    # What came of it

    @property
    def finals(self) -> list[dict[str, Any]]:
        """What the client was told for good, in its order."""
        return [message for message in self.client if message["type"] == "Results" and message["is_final"]]

    def check(self) -> Tally:
        stored = [(json.loads(final.text), final.late) for final in self.stored]
        return Tally.of(stored, len(self.recogniser.said))


def _words(final: actions.StoreFinal) -> list[Spoken]:
    return timeline.words(json.loads(final.text))


def result(window: Window, shift: float, *, is_final: bool, from_finalize: bool = False) -> dict[str, Any]:
    words = [
        {
            "word": heard.word.text,
            "start": round(heard.word.start + shift, 3),
            "end": round(heard.word.end + shift, 3),
            "origin": heard.origin,
        }
        for heard in window.heard
    ]
    return {
        "type": "Results",
        "channel_index": [0, 1],
        "duration": round(window.end - window.start, 3),
        "start": round(window.start + shift, 3),
        "is_final": is_final,
        "speech_final": False,
        "channel": {
            "alternatives": [
                {
                    "transcript": " ".join(word["word"] for word in words),
                    "confidence": 0.9,
                    "words": words,
                }
            ]
        },
        "from_finalize": from_finalize,
    }


@dataclass
class Tally:
    """Of what was said: which words are missing, and which were given out by more than one result."""

    lost: list[int]
    repeated: list[int]
    is_in_order: bool

    @classmethod
    def of(cls, finals: list[tuple[dict[str, Any], bool]], said: int) -> Tally:
        given: dict[int, set[int]] = {}
        at, in_order = -1.0, True
        for number, (message, is_late) in enumerate(finals):
            if not is_late:
                in_order = in_order and message["start"] >= at - 0.002
                at = message["start"] + message["duration"]
            for word in message["channel"]["alternatives"][0]["words"]:
                given.setdefault(word["origin"], set()).add(number)
                in_order = in_order and word["start"] <= word["end"] + 0.002
        return cls(
            lost=[origin for origin in range(said) if origin not in given],
            repeated=[origin for origin, results in given.items() if len(results) > 1],
            is_in_order=in_order,
        )
