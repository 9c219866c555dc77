"""One live session: told what happened and what time it is, answers with what to do.

It does no input or output and owns no clock; the relay (streaming/relay.py) does. `handle` is called with one
event at a time; its actions are performed in their order before the next event. Times are seconds: `now` of
any monotonic clock, everything else of the client's audio, from the session's start to its end, whatever
becomes of connections in between.

A client that is not resumable gets Deepgram's messages and nothing of ours.

    opening ──> live ──> closing ──> ended
                 │ ▲        ▲
        client   ▼ │        │ nobody came back
        gone    away ───────┘            (it comes back by another session, which supersedes this one)

Beside it the provider's side: connecting, connected, or idle while there is nothing to be heard.

What a session of one connection does with a message is little: it reads the message's first bytes and passes
it on. Only a later connection, whose seconds and words have to be fitted to what was said before, has its
messages parsed and written anew.
"""

from __future__ import annotations

import random as _random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from routing.backoff import delays
from streaming.rules import extension, timeline
from streaming.rules.actions import (
    Accept,
    Action,
    AudioMark,
    CloseClient,
    Connect,
    DeclareGap,
    Deliver,
    Disconnect,
    End,
    EndReason,
    FillLate,
    Interrupted,
    PauseClient,
    Refuse,
    Report,
    ResumeClient,
    SendAudio,
    SendText,
    StoreFinal,
    Wake,
)
from streaming.rules.asked import Asked
from streaming.rules.audio_log import open_log
from streaming.rules.channel import Channel
from streaming.rules.events import (
    ClientAudio,
    ClientBlocked,
    ClientFlowing,
    ClientGone,
    ClientText,
    Draining,
    Event,
    FinalsStored,
    HoleFilled,
    Opened,
    ProviderClosed,
    ProviderConnected,
    ProviderMessage,
    ProviderRefused,
    Superseded,
    Ticked,
)
from streaming.rules.extension import (
    ENDED,
    MOVED,
    REPLACED,
    RESTARTING,
    TOO_BIG,
    TOO_SLOW,
    UNACCEPTABLE,
)
from streaming.rules.feed import CLOSE_STREAM, Control, Feed
from streaming.rules.holes import Holes
from streaming.rules.merge import MOST_REPLAY
from streaming.rules.messages import (
    ClientWord,
    Kind,
    Recognised,
    answers_finalize,
    number,
    parse,
    recognise,
    recognise_client,
    with_fields,
    write,
)
from streaming.rules.pacing import Inflow
from streaming.rules.parameters import Terms
from streaming.rules.silence import Silence

Uniform = Callable[[float, float], float]

KEEP_ALIVE = '{"type":"KeepAlive"}'
FINALIZE = '{"type":"Finalize"}'
MOST_TEXT = 64 * 1024
"""Characters of a client's message, which is not parsed if it has more."""

# Deepgram closes with these when the audio or the request is at fault: another connection would end likewise.
_FATAL_CODES = frozenset({1002, 1003, 1007, UNACCEPTABLE})
_RETRYABLE_STATUSES = frozenset({408, 429})

_FIRST_TRIES = 3  # of the provider's handshake, while the client waits for the answer to its own
_KEEP_ALIVE_AFTER = 4.0  # Deepgram closes after 10 s (NET-0001), and advises 3 to 5
_RESUME_WINDOW = 120.0
_CLOSING = 3.0  # for the provider to say its last, and four seconds for each that it is behind
_MOST_CLOSING = 30.0
_FILLING = 30.0  # for what is transcribed late, once all else is done
_BLOCKED = 10.0  # for a client that does not read
_LAST_WORDS = 5.0  # of the time that a server has to stop in
_KEPT = MOST_REPLAY + 1.0  # seconds of audio before what is not final yet
_SOON = 0.005
_MOST_CHANNELS = 20
_CONFIGURED = ("ConfigureSuccess", "ConfigureFailure")
_EDGE = 0.1  # seconds: what a connection hears at its very beginning may be the rest of a word
_AFTER_MARK = 0.03  # seconds: so that the last word is not cut off, and no other begun
_BEFORE = 1.0  # seconds before a hole, so that whoever fills it hears its first word whole
_MOST_RATE = 4_000_000  # bytes per second: 20 channels of linear32 at 48 kHz
_OVERLAP = 1.5  # seconds before now, at which a jump goes on, so that who fills the hole hears what it cut


@dataclass(frozen=True, slots=True)
class Identity:
    """What a resumable client is told at first: the stream's id and the token to resume it by."""

    session_id: str
    token: str


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """Where a session goes on that another relay has begun, as it is stored.

    `seq`: the highest number that was stored or that the client has seen. `tail`: the stored messages of the
    last finals, in their order, at least those of the last `channel.KEPT` seconds of each channel. `audio`:
    `resume_from` of the last stored final. `prelude`: `Session.prelude` of the relay before. `connection`:
    the highest number that a connection of the session had.
    """

    seq: int
    tail: tuple[str, ...]
    audio: AudioMark
    request_id: str
    connection: int
    prelude: bytes = b""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a session may keep waiting.

    `most_behind`: seconds from which on a new connection jumps to now and leaves a hole to be filled late.
    `most_held`: bytes of audio kept for a provider that cannot be reached, before they are handed over alike.
    """

    most_behind: float = 8.0
    most_held: int = 4 * 1024 * 1024


class State(StrEnum):
    OPENING = "opening"
    LIVE = "live"
    AWAY = "away"
    CLOSING = "closing"
    ENDED = "ended"


class Link(StrEnum):
    """The provider's side."""

    IDLE = "idle"
    CONNECTING = "connecting"
    CONNECTED = "connected"


class Session:
    """The rules of one live session, from the handshake to `End`."""

    def __init__(
        self,
        terms: Terms,
        *,
        identity: Identity | None = None,
        resumed: ResumePoint | None = None,
        created_at: datetime | None = None,
        limits: Limits | None = None,
        random: Uniform = _random.uniform,
    ) -> None:
        origin = resumed.audio if resumed else AudioMark(0, 0.0)
        self.state = State.OPENING
        self.request_id = resumed.request_id if resumed else ""
        self.reconnects = 0
        self.dropped_interims = 0
        self._terms = terms
        self._identity = identity if terms.resumable else None
        self._limits = limits or Limits()
        self._random = random
        self._created_at = created_at
        self._resumed = resumed is not None
        self._origin = origin
        self._log = open_log(
            terms.encoding,
            terms.sample_rate,
            terms.audio_channels,
            origin=origin,
            prelude=resumed.prelude if resumed else b"",
        )
        self._channels = [Channel(index, origin.seconds) for index in range(terms.channels)]
        for text in resumed.tail if resumed else ():
            self._channel(recognise(text).channel).resume(text)
        self._seq = resumed.seq if resumed else 0
        self._unacknowledged: deque[tuple[int, AudioMark]] = deque()
        self._holes = Holes()
        self._inflow = Inflow(0.0)
        # The provider's side
        self._link = Link.IDLE
        self._connection = resumed.connection if resumed else 0
        self._base: float | None = None  # where its second 0 is; None if nothing needs to be changed
        self._delays = delays(random=random)
        self._failures = 0
        self._feed = Feed(self._log)
        self._asked = Asked()
        self._flows = False  # connected, and all that came has been sent
        self._silence = Silence(has_interims=("interim_results", "true") in terms.forwarded)
        self._metadata: str | None = None
        # The client's side
        self._is_attached = False
        self._is_paused = False
        self._blocked_since: float | None = None
        self._reason = EndReason.FINISHED
        self._away_until = self._close_by = self._drain_at = self._end_at = float("inf")
        self._is_done = False
        self._wake_at = float("inf")

    @property
    def audio_seconds(self) -> float:
        """How much audio the client has sent."""
        return self._log.end

    @property
    def connection(self) -> int:
        """The number of the last connection asked for."""
        return self._connection

    @property
    def held_bytes(self) -> int:
        """Audio kept to be sent, or sent again."""
        return self._log.size

    @property
    def prelude(self) -> bytes:
        """What a container's audio cannot be understood without: its header. To be stored for a resume."""
        return self._log.prelude

    def handle(self, event: Event, now: float) -> list[Action]:
        match event:
            case ClientAudio(data) if self._flows and data:
                before = self._log.end
                self._log.append(data, now)
                if (
                    not self._inflow.is_ahead(self._came, now)
                    and not self._is_no_audio
                    and self._feed.passes(self._log.end - before, now)
                ):
                    return [SendAudio(data)]
                actions = list(self._audio_came(now))
            case ProviderMessage(connection, text):
                if connection != self._connection or self._link is not Link.CONNECTED:
                    return []
                self._silence.ends(now, self._log.cursor)
                actions = list(self._said(text, now))
            case _ if self.state is State.ENDED:
                return []
            case _:
                actions = list(self._happened(event, now))
        if self.state is not State.ENDED:
            actions += self._alarm(now)
        return actions

    def _happened(self, event: Event, now: float) -> Iterator[Action]:
        match event:
            case Opened():
                self._inflow = Inflow(now, allowance=_RESUME_WINDOW if self._resumed else 0.0)
                yield from self._connect(0.0)
                if self._resumed:
                    yield from self._accept()
            case ClientAudio(b""):
                yield from self._close(EndReason.FINISHED, now)
            case ClientAudio(data):
                yield from self._audio(data, now)
            case ClientText(text):
                yield from self._control(text, now)
            case ClientGone():
                yield from self._client_gone(now)
            case ClientBlocked() if self._is_attached:
                self._blocked_since = now
            case ClientFlowing():
                self._blocked_since = None
            case ProviderConnected(connection, request_id) if connection == self._connection:
                yield from self._connected(request_id, now)
            case ProviderRefused(connection) if connection == self._connection:
                yield from self._refused(event, now)
            case ProviderClosed(connection) if connection == self._connection:
                yield from self._lost(event, now)
            case FinalsStored(seq):
                yield from self._stored(seq)
            case HoleFilled():
                yield from self._filled(event, now)
            case Ticked():
                self._wake_at = float("inf")
                yield from self._ticked(now)
            case Draining(within):
                yield from self._drain(within, now)
            case Superseded():
                yield from self._leave(REPLACED, "Resumed elsewhere, or deleted.", EndReason.SUPERSEDED)

    # The client's audio and words

    def _audio(self, data: bytes, now: float) -> Iterator[Action]:
        if self.state is not State.LIVE:
            return  # said after CloseStream
        self._log.append(data, now)
        yield from self._audio_came(now)

    def _audio_came(self, now: float) -> Iterator[Action]:
        if self._is_no_audio:
            yield from self._leave(UNACCEPTABLE, "More bytes than audio has.", EndReason.BAD_AUDIO)
            return
        if self._link is Link.IDLE:
            yield from self._connect(0.0)
        yield from self._pump(now)
        if not self._is_paused and self._inflow.is_ahead(self._came, now):
            self._is_paused = True
            yield PauseClient()
        holds_too_much = self._log.size > self._limits.most_held
        if self._link is not Link.CONNECTED:
            if holds_too_much:
                yield from self._leave_hole(self._log.end - _OVERLAP)
        elif holds_too_much or self._behind(self._log.cursor, now) > 1.5 * self._limits.most_behind:
            # It would take minutes to catch up: begin again, near now.
            yield Disconnect(self._connection)
            yield from self._reconnect(now)

    def _control(self, text: str, now: float) -> Iterator[Action]:
        if self.state is not State.LIVE:
            return
        if len(text) > MOST_TEXT:
            yield from self._leave(TOO_BIG, "A text message may have 64 kB.", EndReason.REFUSED)
            return
        asked = Control(self._log.end, text)
        match recognise_client(text):
            case ClientWord.KEEP_ALIVE:
                return  # the session keeps the provider's socket alive by itself
            case ClientWord.CLOSE_STREAM:
                yield from self._close(EndReason.FINISHED, now)
                return
            case ClientWord.FINALIZE:
                self._asked.finalize(asked)
            case ClientWord.CONFIGURE:
                self._asked.configure(text)
            case ClientWord.OTHER:
                pass  # for the provider to refuse
        if self._link is Link.CONNECTED:
            if self._feed.is_full:
                yield from self._leave(UNACCEPTABLE, "Too many text messages.", EndReason.REFUSED)
                return
            self._feed.add(asked)
            yield from self._pump(now)

    def _client_gone(self, now: float, reason: EndReason = EndReason.CLIENT_GONE) -> Iterator[Action]:
        self._is_attached = False
        self._blocked_since = None
        match self.state:
            case State.OPENING:
                yield from self._end(EndReason.CLIENT_GONE)
            case State.LIVE if self._identity is not None:
                self.state = State.AWAY
                self._flows = False
                self._away_until = now + _RESUME_WINDOW
                yield Interrupted()
            case State.LIVE:
                yield from self._close(reason, now)

    def _close(self, reason: EndReason, now: float) -> Iterator[Action]:
        """Have the provider say what it has still to say, and end."""
        if self.state not in (State.LIVE, State.AWAY):
            return
        self.state = State.CLOSING
        self._flows = False
        self._reason = reason
        self._away_until = self._drain_at = float("inf")
        behind = self._log.end - min(self._log.cursor, self._mark)
        self._close_by = now + min(_CLOSING + 4 * behind, _MOST_CLOSING)
        asked = Control(self._log.end, CLOSE_STREAM)
        self._asked.close(asked)
        if self._link is Link.CONNECTED:
            self._feed.add(asked)
            yield from self._pump(now)
        elif self._link is Link.IDLE:
            yield from self._finish(now)  # nothing was said, or all of it is final

    # The provider's socket

    def _connect(self, after: float) -> Iterator[Action]:
        self._connection += 1
        self._link = Link.CONNECTING
        yield Connect(self._connection, after, self._failures)

    def _connected(self, request_id: str, now: float) -> Iterator[Action]:
        self._link = Link.CONNECTED
        self._feed.sent_at = now
        if self.state is State.OPENING:
            self.request_id = request_id
            yield from self._accept()
        elif not self.request_id:
            self.request_id = request_id
        yield Report("connected")
        yield from self._status("connected")
        if self._connection > 1 or self._resumed:
            yield from self._begin_again(now)
        self._silence.ends(now, self._log.cursor)
        yield from self._pump(now)

    def _begin_again(self, now: float) -> Iterator[Action]:
        """Fit a later connection to what there is: where it begins, and what it has to be told on the way."""
        if self._behind(self._mark, now) > self._limits.most_behind:
            yield from self._leave_hole(self._log.end - _OVERLAP)
        start = min(channel.replay_from() for channel in self._channels)
        self._base = self._feed.begin_again(start, now)
        for asked in self._asked.again():
            self._feed.add(asked)
        for channel in self._channels:
            if channel.begin_again(self._base):
                # A result that ends where the last one did tells old words from new ones (see merge).
                self._feed.add(Control(channel.mark + _AFTER_MARK, self._finalize(channel)))

    def _refused(self, refusal: ProviderRefused, now: float) -> Iterator[Action]:
        self._link = Link.IDLE
        self._failures += 1
        status = refusal.status
        if self.state is State.OPENING:
            is_final = status is not None and 400 <= status < 500 and status not in _RETRYABLE_STATUSES
            if is_final or self._failures >= _FIRST_TRIES:
                yield Refuse(status or 503, refusal.message)
                yield from self._end(EndReason.REFUSED if is_final else EndReason.UNAVAILABLE)
                return
        # Whoever was served once is not turned away: the audio is kept, and filled in late if need be.
        # A provider that asks for more time is left alone by whoever chooses the region: another may be free.
        yield from self._connect(next(self._delays))

    def _lost(self, closed: ProviderClosed, now: float) -> Iterator[Action]:
        if self._link is not Link.CONNECTED:
            return  # given up before
        self._link = Link.IDLE
        self._flows = False
        if closed.code in _FATAL_CODES:
            yield from self._leave(closed.code, closed.reason, EndReason.BAD_AUDIO)
        elif (
            self.state is State.CLOSING
            and not self._feed.has_controls
            and (closed.code == ENDED or self._metadata is not None)
        ):
            yield from self._finish(now)
        else:
            self._failures += 1
            yield from self._reconnect(now)

    def _reconnect(self, now: float) -> Iterator[Action]:
        self._link = Link.IDLE
        self._flows = False
        self._metadata = None
        self._feed.stop()
        if self._mark >= self._log.end - _EDGE:  # until there is something to be heard
            if self.state is State.CLOSING:
                yield from self._finish(now)
            return
        self.reconnects += 1
        yield Report("reconnecting")
        yield from self._status("reconnecting")
        yield from self._connect(next(self._delays))

    def _pump(self, now: float) -> Iterator[Action]:
        if self._link is Link.CONNECTED:
            yield from self._feed.pump(now)
            self._flows = self.state is State.LIVE and self._log.passes_raw and self._feed.is_done

    # The provider's words

    def _said(self, text: str, now: float) -> Iterator[Action]:
        recognised = recognise(text)
        match recognised.kind:
            case Kind.FINAL | Kind.INTERIM:
                if self._base is None:
                    yield from self._result(text, recognised, now)
                else:
                    yield from self._fitted_result(text, recognised, self._base, now)
            case Kind.METADATA:
                # Only the last of its kind is the client's; one before a close of the provider's own is not.
                self._metadata = text if self.state is State.CLOSING else None
            case Kind.UTTERANCE_END | Kind.SPEECH_STARTED:
                yield from self._speech_event(text, recognised.kind)
            case Kind.OTHER:
                yield from self._other(text)

    def _result(self, text: str, recognised: Recognised, now: float) -> Iterator[Action]:
        """A result in the session's time."""
        channel = self._channel(recognised.channel)
        if recognised.kind is Kind.INTERIM:
            channel.expect(text)
            yield from self._interim(channel, text, recognised.end, now)
            return
        self._failures = 0
        self._silence.expect_as_ever()
        self._delays = delays(random=self._random)
        if self._asked and answers_finalize(text):
            self._asked.finalized()
        yield from self._final(channel, text, recognised.start, recognised.end)

    def _final(
        self, channel: Channel, text: str, start: float, end: float, *, late: bool = False
    ) -> Iterator[Action]:
        self._seq += 1
        if self._identity is not None:
            text = self._extended(text, late=late)
        if not late:
            channel.keep(text, end)
            if self._holes:
                self._holes.beside(channel.index, timeline.words(parse(text)))
        # A session that goes on from here needs what Overlap needs.
        resume_from = self._log.mark(max(self._origin.seconds, self._mark - MOST_REPLAY))
        if self._identity is not None:
            self._unacknowledged.append((self._seq, resume_from))
        yield StoreFinal(self._seq, channel.index, start, end, text, resume_from, self._connection, late)
        if self._is_attached:
            yield Deliver(text, None if late else end, is_final=True)
        if not late:
            self._log.forget(self._mark - _KEPT)
            yield from self._fit_holes()

    def _interim(self, channel: Channel, text: str, end: float, now: float) -> Iterator[Action]:
        if self._blocked_since is not None or not self._is_attached:
            self.dropped_interims += self._is_attached
            return
        if now < channel.delivered_at + self._terms.interim_throttle:
            channel.held_back = (text, end)
            return
        channel.delivered_at = now
        channel.held_back = None
        if self._identity is not None:
            self._seq += 1
            text = self._extended(text)
        yield Deliver(text, end)

    def _fitted_result(self, text: str, recognised: Recognised, base: float, now: float) -> Iterator[Action]:
        """A result of a later connection: on the session's time, and without what was final already."""
        channel = self._channel(recognised.channel)
        is_final = recognised.kind is Kind.FINAL
        message = parse(text)
        timeline.shift(message, base)
        is_asked_for = is_final and self._asked.is_within(number(message.get("start")), recognised.end + base)
        if channel.cut(message, is_final=is_final, is_asked_for=is_asked_for):
            if message.get("from_finalize") is True and not is_asked_for:
                message["from_finalize"] = False  # an answer to us
            self._rename(message)
            end = number(message.get("start")) + number(message.get("duration"))
            fitted = Recognised(recognised.kind, recognised.channel, number(message.get("start")), end)
            yield from self._result(write(message), fitted, now)

    def _speech_event(self, text: str, kind: Kind) -> Iterator[Action]:
        """UtteranceEnd and SpeechStarted, once each."""
        message = parse(text)
        if self._base is not None:
            timeline.shift(message, self._base)
            text = write(message)
        index = message.get("channel")
        channel = self._channel(
            index[0] if isinstance(index, list) and index and isinstance(index[0], int) else 0
        )
        if kind is Kind.UTTERANCE_END:
            end = number(message.get("last_word_end"))
            if self._base is not None and end <= channel.utterance_end + _EDGE:
                return
            channel.utterance_end = end
        elif self._base is not None and number(message.get("timestamp")) < channel.mark:
            return
        if self._is_attached:
            yield Deliver(text)

    def _other(self, text: str) -> Iterator[Action]:
        is_ours = parse(text).get("type") in _CONFIGURED and not self._asked.configured()
        if self._is_attached and not is_ours:
            yield Deliver(text)

    # What is behind, and what is left out

    def _behind(self, second: float, now: float) -> float:
        """How much of what was spoken by now comes after this second."""
        if self._resumed:
            return self._log.end - second  # saved up by the client meanwhile
        return self._origin.seconds + self._inflow.spoken(self._came, now) - second

    def _leave_hole(self, until: float) -> Iterator[Action]:
        """Go on at `until`, and have what is before it transcribed apart."""
        start = self._mark
        if until <= start:
            return
        first = min(start - _BEFORE, *(channel.replay_from() for channel in self._channels))
        heard_from, audio = self._log.between(first, self._log.end)
        self._holes.leave(start, until, self._channels)
        for channel in self._channels:
            channel.jump(until, until + _EDGE)
        self._log.rewind(until)
        self._log.forget(until - _BEFORE)
        yield FillLate(start, until, heard_from, audio)

    def _filled(self, filled: HoleFilled, now: float) -> Iterator[Action]:
        hole = self._holes.fill(filled.start, filled.results)
        if hole is not None and filled.failed:
            yield from self._gap(hole.start, hole.end)
        yield from self._fit_holes()
        if self._is_done and not self._holes:
            yield from self._finish(now)

    def _fit_holes(self) -> Iterator[Action]:
        """Give out what fills holes, once it is known how things go on after them."""
        for hole, channel, message in self._holes.fitting(self._mark, is_over=self._is_done):
            self._rename(message)
            text, start = write(message), hole.marks[channel]
            yield from self._final(self._channel(channel), text, start, hole.end, late=True)

    def _gap(self, start: float, end: float) -> Iterator[Action]:
        yield DeclareGap(start, end)
        if self._identity is not None and self._is_attached:
            yield Deliver(extension.gap(start, end))

    # What resumable clients see

    def _accept(self) -> Iterator[Action]:
        self.state = State.LIVE
        self._is_attached = True
        yield Accept(self.request_id)
        if self._identity is not None:
            yield Deliver(
                extension.session(
                    self._identity.session_id,
                    self._identity.token,
                    audio_offset=self._origin.byte,
                    seq=self._seq,
                    exact_replay=self._log.is_exact,
                )
            )

    def _stored(self, seq: int) -> Iterator[Action]:
        mark = None
        while self._unacknowledged and self._unacknowledged[0][0] <= seq:
            mark = self._unacknowledged.popleft()[1]
        if mark is not None and self._is_attached:
            yield Deliver(extension.ack(mark.byte, seq))

    def _status(self, state: str) -> Iterator[Action]:
        if self._identity is not None and self._is_attached:
            yield Deliver(extension.status(state))

    def _extended(self, text: str, *, late: bool = False) -> str:
        return with_fields(text, extension.result_fields(self._seq, self._connection, late=late))

    # Time

    def _ticked(self, now: float) -> Iterator[Action]:
        for channel in self._channels:
            if channel.held_back is not None and now >= channel.delivered_at + self._terms.interim_throttle:
                yield from self._interim(channel, *channel.held_back, now)
        if self._is_paused and now >= self._inflow.may_go_on_at(self._came):
            self._is_paused = False
            yield ResumeClient()
        if self._blocked_since is not None and now >= self._blocked_since + _BLOCKED:
            yield CloseClient(TOO_SLOW, "The client does not read what it is sent.")
            yield from self._client_gone(now, EndReason.TOO_SLOW)
        if self._link is Link.CONNECTED:
            yield from self._pump(now)
            if now >= self._feed.sent_at + _KEEP_ALIVE_AFTER and self.state is not State.CLOSING:
                self._feed.sent_at = now
                yield SendText(KEEP_ALIVE)
            is_asked_to_end = self.state is State.CLOSING and not self._feed.has_controls
            if self._silence.is_too_long(now, self._log.cursor, is_asked_to_end=is_asked_to_end):
                self._silence.forgive()
                self._failures += 1
                yield Disconnect(self._connection, hangs=True)
                yield from self._reconnect(now)
        if now >= self._away_until and self.state is State.AWAY:
            yield from self._close(EndReason.CLIENT_GONE, now)
        if now >= self._drain_at and self.state is State.LIVE:
            yield from self._close(EndReason.DRAINED, now)
        if now >= min(self._close_by, self._end_at) and self.state is State.CLOSING:
            yield from self._give_up(now)

    def _alarm(self, now: float) -> list[Action]:
        """Ask to be woken when the next thing is due, unless that was asked for already."""
        due = min(self._away_until, self._drain_at, self._close_by, self._end_at)
        if self._link is Link.CONNECTED:
            # Whether it hangs depends on what is sent as well: to be looked at again.
            due = min(due, max(self._silence.due_at, now + 1.0))
            if self.state is not State.CLOSING:
                due = min(due, self._feed.sent_at + _KEEP_ALIVE_AFTER)
            due = min(due, self._feed.due_at(now))
        if self._blocked_since is not None:
            due = min(due, self._blocked_since + _BLOCKED)
        if self._is_paused:
            due = min(due, self._inflow.may_go_on_at(self._came))
        if self._terms.interim_throttle:
            for channel in self._channels:
                if channel.held_back is not None:
                    due = min(due, channel.delivered_at + self._terms.interim_throttle)
        due = max(due, now + _SOON)
        if due >= self._wake_at:
            return []
        self._wake_at = due
        return [Wake(due)]

    # The end

    def _drain(self, within: float, now: float) -> Iterator[Action]:
        match self.state:
            case State.OPENING:
                yield Refuse(503, "This server is about to stop. Connect again.")
                yield from self._end(EndReason.DRAINED)
            case State.LIVE if self._identity is not None:
                yield from self._status("moving")
                yield from self._leave(MOVED, "Reconnect elsewhere now.", EndReason.MOVED)
            case State.LIVE:
                self._drain_at = now + max(0.0, within - _LAST_WORDS)
                self._end_at = now + within
            case State.AWAY:
                # Whoever comes back may do so elsewhere; what it had said is not to be lost if nobody does.
                self._end_at = now + within
                yield from self._close(EndReason.MOVED, now)
            case State.CLOSING:
                self._end_at = now + within

    def _leave(self, code: int, why: str, reason: EndReason) -> Iterator[Action]:
        if self._is_attached:
            yield CloseClient(code, why)
        yield from self._end(reason)

    def _give_up(self, now: float) -> Iterator[Action]:
        """The provider does not come to its end in time: what it has not said is asked of the batch path."""
        if self._link is not Link.IDLE:
            yield Disconnect(self._connection)
            self._link = Link.IDLE
        if self._log.end - self._mark > _EDGE:
            yield from self._leave_hole(self._log.end)
        if self._is_done or now >= self._end_at:
            self._holes.clear()  # filled without us, or never
        yield from self._finish(now)

    def _finish(self, now: float) -> Iterator[Action]:
        """All has been said but what is being filled in late."""
        self._is_done = True
        yield from self._fit_holes()
        if self._holes:
            self._close_by = now + _FILLING
            return
        if self._is_attached:
            yield Deliver(self._last_metadata())
            code = RESTARTING if self._reason is EndReason.DRAINED else ENDED
            yield CloseClient(code, "")
        yield from self._end(self._reason)

    def _end(self, reason: EndReason) -> Iterator[Action]:
        if self._link is not Link.IDLE:
            yield Disconnect(self._connection)
        self.state = State.ENDED
        self._link = Link.IDLE
        self._flows = self._is_attached = False
        yield End(reason)

    def _last_metadata(self) -> str:
        if self._metadata is not None and self._base is None:
            return self._metadata
        return extension.metadata(
            self._metadata,
            request_id=self.request_id,
            created_at=self._created_at,
            duration=self._log.end,
            channels=len(self._channels),
        )

    # Small things

    @property
    def _came(self) -> float:
        """Seconds of audio that came to this relay."""
        return self._log.end - self._origin.seconds

    @property
    def _is_no_audio(self) -> bool:
        """Whether it takes bytes but no time: nobody is told to wait, and nothing is ever left out of it."""
        held = self._log.size
        if held <= self._limits.most_held:
            return False
        return held > _MOST_RATE * (self._log.end - self._mark + _KEPT)

    @property
    def _mark(self) -> float:
        """Up to here everything is final, on all channels."""
        return min(channel.mark for channel in self._channels)

    def _channel(self, index: int) -> Channel:
        while len(self._channels) <= index < _MOST_CHANNELS:
            # The provider knows better how many there are.
            self._channels.append(Channel(len(self._channels), self._origin.seconds))
        return self._channels[min(index, len(self._channels) - 1)]

    def _finalize(self, channel: Channel) -> str:
        return FINALIZE if len(self._channels) == 1 else write({"type": "Finalize", "channel": channel.index})

    def _rename(self, message: timeline.Message) -> None:
        """The request id stays the session's."""
        metadata = message.get("metadata")
        if isinstance(metadata, dict):
            metadata["request_id"] = self.request_id
