"""One live session, told what happens and when."""

import json
import random
from functools import partial

import pytest

from streaming.rules import actions, events
from streaming.rules.actions import EndReason
from streaming.rules.merge import Spoken
from streaming.rules.parameters import read
from streaming.rules.session import Identity, Limits, ResumePoint, Session, State
from tests.streaming.rules.recogniser import Heard, Recogniser, Window, speech
from tests.streaming.rules.world import World, result

SECOND = b"\0" * 16_000  # linear16, 8,000 samples per second


class Relay:
    """Tells a session one thing after another, and keeps what it asks for."""

    def __init__(self, query="", *, resumed=None, limits=None):
        pairs = [("encoding", "linear16"), ("sample_rate", "8000"), ("interim_results", "true")]
        pairs += [tuple(pair.split("=")) for pair in query.split("&") if pair]
        terms = read(pairs)
        identity = Identity("stream", "TOKEN") if terms.resumable else None
        self.session = Session(
            terms, identity=identity, resumed=resumed, limits=limits, random=lambda low, high: high
        )
        self.now = 100.0
        self._wake = None

    def tell(self, event, *, after=0.0):
        asked = self.wait(after)
        return asked + self._handle(event)

    def wait(self, seconds):
        """Wakes the session whenever it asked for that."""
        asked, until = [], self.now + seconds
        while self._wake is not None and self._wake <= until:
            self.now, self._wake = self._wake, None
            asked += self._handle(events.Ticked())
        self.now = until
        return asked

    def _handle(self, event):
        asked = self.session.handle(event, self.now)
        for wake in of(actions.Wake, asked):
            self._wake = wake.at
        return asked

    def opened(self):
        self.tell(events.Opened())
        self.tell(events.ProviderConnected(1, "request-1"))
        return self

    def speak(self, seconds, *, piece=0.1):
        """Audio as it is spoken; what is asked for meanwhile."""
        asked = []
        for _ in range(round(seconds / piece)):
            asked += self.tell(events.ClientAudio(SECOND[: int(16_000 * piece)]), after=piece)
        return asked

    def says(self, start, end, words="", *, connection=1, is_final=True, **fields):
        message = a_result(start, end, words, is_final=is_final, **fields)
        return self.tell(events.ProviderMessage(connection, json.dumps(message)))

    def loses_its_connection(self, *, code=1006):
        """And gets another at once."""
        [connect] = of(actions.Connect, self.tell(events.ProviderClosed(self.session.connection, code)))
        assert connect.after == 0.0
        return self.tell(events.ProviderConnected(connect.connection, "request-2"))


def a_result(start, end, words="", *, is_final=True, **fields):
    spoken = words.split()
    each = (end - start) / max(1, len(spoken))
    heard = [
        Heard(Spoken(word, start + number * each, start + (number + 1) * each), number)
        for number, word in enumerate(spoken)
    ]
    return {**result(Window(start, end, tuple(heard)), 0.0, is_final=is_final), **fields}


def of(kind, asked):
    return [action for action in asked if isinstance(action, kind)]


def delivered(asked, kind="Results"):
    messages = [json.loads(action.text) for action in of(actions.Deliver, asked)]
    return [message for message in messages if message["type"] == kind]


def text(message):
    return message["channel"]["alternatives"][0]["transcript"]


class TestTheHandshake:
    def test_the_client_is_answered_when_the_provider_has_answered(self):
        relay = Relay()
        assert of(actions.Connect, relay.tell(events.Opened())) == [actions.Connect(1, 0.0)]
        asked = relay.tell(events.ProviderConnected(1, "request-1"))
        assert asked[0] == actions.Accept("request-1")
        assert relay.session.state is State.LIVE

    @pytest.mark.parametrize("status", [400, 401, 402, 403, 404])
    def test_what_the_provider_refuses_is_refused_in_its_words(self, status):
        relay = Relay()
        relay.tell(events.Opened())
        asked = relay.tell(events.ProviderRefused(1, status, "No such model."))
        assert asked == [actions.Refuse(status, "No such model."), actions.End(EndReason.REFUSED)]

    @pytest.mark.parametrize("status", [None, 408, 429, 500, 503])
    def test_what_may_pass_is_tried_three_times(self, status):
        relay = Relay()
        relay.tell(events.Opened())
        assert of(actions.Connect, relay.tell(events.ProviderRefused(1, status))) == [
            actions.Connect(2, 0.0, 1)
        ]
        assert of(actions.Connect, relay.tell(events.ProviderRefused(2, status))) == [
            actions.Connect(3, 1.0, 2)
        ]
        asked = relay.tell(events.ProviderRefused(3, status, "Try later."))
        assert asked == [actions.Refuse(status or 503, "Try later."), actions.End(EndReason.UNAVAILABLE)]

    def test_a_client_that_leaves_meanwhile_leaves_nothing_open(self):
        relay = Relay()
        relay.tell(events.Opened())
        assert relay.tell(events.ClientGone()) == [actions.Disconnect(1), actions.End(EndReason.CLIENT_GONE)]


class TestOneConnection:
    def test_audio_passes_as_it_came(self):
        relay = Relay().opened()
        assert relay.tell(events.ClientAudio(b"abcd")) == [actions.SendAudio(b"abcd")]

    def test_results_pass_as_they_came(self):
        relay = Relay().opened()
        relay.speak(2.0)
        raw = (
            '{"type":"Results","channel_index":[0,1],"duration":1.5,"start":0.0,"is_final":false, "odd" : 1}'
        )
        asked = relay.tell(events.ProviderMessage(1, raw))
        assert asked == [actions.Deliver(raw, 1.5)]

    def test_a_final_result_is_stored_before_it_is_delivered(self):
        relay = Relay().opened()
        relay.speak(2.0)
        stored, sent = relay.says(0.0, 1.5, "hello there")
        assert (stored.seq, stored.start, stored.end, stored.channel) == (1, 0.0, 1.5, 0)
        assert stored.text == sent.text

    def test_a_client_that_is_not_resumable_sees_nothing_of_ours(self):
        relay = Relay().opened()
        asked = relay.speak(2.0) + relay.says(0.0, 1.0, "hello") + relay.tell(events.FinalsStored(1))
        asked += relay.loses_its_connection()
        for message in [json.loads(action.text) for action in of(actions.Deliver, asked)]:
            assert message["type"] == "Results"
            assert not {"seq", "connection", "late"} & set(message)

    def test_the_provider_hears_a_keepalive_while_the_client_is_silent(self):
        relay = Relay().opened()
        relay.speak(1.0)
        assert of(actions.SendText, relay.wait(3.9)) == []
        assert of(actions.SendText, relay.wait(5.0)) == [actions.SendText('{"type":"KeepAlive"}')] * 2

    def test_the_clients_own_keepalive_is_not_needed(self):
        relay = Relay().opened()
        assert of(actions.SendText, relay.tell(events.ClientText('{"type":"KeepAlive"}'))) == []

    @pytest.mark.parametrize(
        "control", ['{"type":"Finalize"}', '{"type": "Configure", "keyterms": []}', "nonsense"]
    )
    def test_other_controls_pass_as_they_came(self, control):
        relay = Relay().opened()
        assert of(actions.SendText, relay.tell(events.ClientText(control))) == [actions.SendText(control)]

    @pytest.mark.parametrize("end", [events.ClientText('{"type":"CloseStream"}'), events.ClientAudio(b"")])
    def test_closing_the_stream_delivers_the_last_results_and_the_metadata(self, end):
        relay = Relay().opened()
        relay.speak(2.0)
        assert of(actions.SendText, relay.tell(end)) == [actions.SendText('{"type":"CloseStream"}')]
        assert delivered(relay.says(0.0, 2.0, "hello there"))
        raw = '{"type":"Metadata", "duration": 2.0}'
        relay.tell(events.ProviderMessage(1, raw))
        assert relay.tell(events.ProviderClosed(1, 1000)) == [
            actions.Deliver(raw),
            actions.CloseClient(1000),
            actions.End(EndReason.FINISHED),
        ]

    @pytest.mark.parametrize("code", [1008, 1003, 1007])
    def test_audio_that_cannot_be_decoded_ends_the_session_as_at_deepgram(self, code):
        relay = Relay().opened()
        relay.speak(1.0)
        asked = relay.tell(events.ProviderClosed(1, code, "DATA-0000"))
        assert asked == [actions.CloseClient(code, "DATA-0000"), actions.End(EndReason.BAD_AUDIO)]

    def test_events_of_another_connection_do_not_count(self):
        relay = Relay().opened()
        relay.speak(1.0)
        assert relay.tell(events.ProviderClosed(0, 1006)) == []
        assert relay.says(0.0, 1.0, "hello", connection=7) == []

    def test_what_the_client_sends_too_fast_waits_with_the_client(self):
        relay = Relay().opened()
        asked = [action for _ in range(8) for action in relay.tell(events.ClientAudio(SECOND))]
        assert of(actions.PauseClient, asked) == [actions.PauseClient()]
        sent = sum(len(action.data) for action in of(actions.SendAudio, asked))
        assert sent <= 1.5 * len(SECOND)
        while not of(actions.ResumeClient, asked):
            asked = relay.wait(0.1)
            sent += sum(len(action.data) for action in of(actions.SendAudio, asked))
        assert sent <= (1.25 * (relay.now - 100.0) + 1.5) * len(SECOND)


class TestAfterALostConnection:
    def test_the_first_attempt_is_at_once_and_the_others_are_not(self):
        relay = Relay().opened()
        relay.speak(1.0)
        [connect] = of(actions.Connect, relay.tell(events.ProviderClosed(1, 1011)))
        waits = [connect.after]
        for number in range(2, 9):
            [connect] = of(actions.Connect, relay.tell(events.ProviderRefused(number, 503)))
            waits.append(connect.after)
        assert waits == [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]

    def test_only_a_final_result_is_progress(self):
        relay = Relay().opened()
        relay.speak(1.0)
        relay.loses_its_connection()
        relay.speak(1.0)
        [connect] = of(actions.Connect, relay.tell(events.ProviderClosed(2, 1011)))
        assert connect.after == 1.0
        relay.tell(events.ProviderConnected(3, "request-3"))
        relay.speak(1.0)
        relay.says(0.0, 2.0, "hello", connection=3)
        [connect] = of(actions.Connect, relay.tell(events.ProviderClosed(3, 1011)))
        assert (connect.after, connect.failures) == (0.0, 1)

    def test_results_go_on_where_they_were_on_the_sessions_time(self):
        relay = Relay().opened()
        relay.speak(3.0)
        relay.says(0.0, 2.0, "one two three four")
        relay.loses_its_connection()
        relay.speak(3.0)
        # There was no pause: it begins again at the beginning.
        assert not delivered(relay.says(0.0, 2.0, "one two three four", connection=2))
        [message] = delivered(relay.says(2.0, 3.5, "five six", connection=2))
        assert (text(message), message["start"], message["duration"]) == ("five six", 2.0, 1.5)

    def test_the_request_id_stays_the_sessions(self):
        relay = Relay().opened()
        relay.speak(1.0)
        relay.loses_its_connection()
        relay.speak(2.0)
        asked = relay.says(0.0, 1.0, "hello", connection=2, metadata={"request_id": "request-2"})
        assert delivered(asked)[0]["metadata"]["request_id"] == "request-1"

    def test_what_was_not_final_is_sent_again_and_the_clients_finalize_too(self):
        relay = Relay().opened()
        relay.speak(1.0)
        relay.tell(events.ClientText('{"type":"Finalize"}'))
        asked = relay.loses_its_connection()
        asked += relay.wait(2.0)
        assert sum(len(action.data) for action in of(actions.SendAudio, asked)) == len(SECOND)
        assert of(actions.SendText, asked)[0] == actions.SendText('{"type":"Finalize"}')

    def test_an_answered_finalize_is_not_sent_again(self):
        relay = Relay().opened()
        relay.speak(1.0)
        relay.tell(events.ClientText('{"type":"Finalize"}'))
        relay.says(0.0, 1.0, "hello", from_finalize=True)
        relay.speak(0.5)
        asked = relay.loses_its_connection()
        asked += relay.wait(2.0)
        # Once, by ourselves: where old and new words meet.
        assert of(actions.SendText, asked)[:1] == [actions.SendText('{"type":"Finalize"}')]
        assert len([sent for sent in of(actions.SendText, asked) if "Finalize" in sent.text]) == 1

    def test_a_configuration_is_sent_again_first_and_answered_once(self):
        relay = Relay().opened()
        configure = '{"type":"Configure","keyterms":["relay"]}'
        success = '{"type":"ConfigureSuccess","keyterms":["relay"]}'
        relay.speak(1.0)
        relay.tell(events.ClientText(configure))
        assert relay.tell(events.ProviderMessage(1, success)) == [actions.Deliver(success)]
        asked = relay.loses_its_connection()
        sent = [action for action in asked if isinstance(action, actions.SendText | actions.SendAudio)]
        assert sent[0] == actions.SendText(configure)
        assert of(actions.Deliver, relay.tell(events.ProviderMessage(2, success))) == []

    def test_closing_while_there_is_no_connection_waits_for_the_rest(self):
        relay = Relay().opened()
        relay.speak(1.0)
        relay.tell(events.ProviderClosed(1, 1006))
        relay.tell(events.ClientText('{"type":"CloseStream"}'))
        asked = relay.tell(events.ProviderConnected(2, "request-2"))
        asked += relay.wait(2.0)
        assert sum(len(action.data) for action in of(actions.SendAudio, asked)) == len(SECOND)
        assert of(actions.SendText, asked)[-1] == actions.SendText('{"type":"CloseStream"}')
        assert text(delivered(relay.says(0.0, 1.0, "hello", connection=2))[0]) == "hello"
        relay.tell(events.ProviderMessage(2, '{"type":"Metadata","duration":1.0,"request_id":"request-2"}'))
        asked = relay.tell(events.ProviderClosed(2, 1000))
        [metadata] = delivered(asked, "Metadata")
        assert (metadata["request_id"], metadata["duration"]) == ("request-1", 1.0)
        assert asked[-1] == actions.End(EndReason.FINISHED)

    def test_a_silent_socket_is_given_up_while_audio_flows(self):
        relay = Relay().opened()
        assert of(actions.Disconnect, relay.speak(7.9)) == []
        assert of(actions.Disconnect, relay.speak(2.0)) == [actions.Disconnect(1, hangs=True)]

    def test_a_quiet_socket_is_kept_while_no_audio_flows(self):
        relay = Relay().opened()
        relay.speak(1.0)
        relay.says(0.0, 0.9, "hello")
        asked = relay.wait(60.0)
        assert of(actions.Disconnect, asked) == []
        assert len(of(actions.SendText, asked)) >= 10

    def test_nothing_is_connected_again_until_there_is_something_to_hear(self):
        relay = Relay().opened()
        assert of(actions.Connect, relay.tell(events.ProviderClosed(1, 1011, "NET-0001"))) == []
        asked = relay.tell(events.ClientAudio(SECOND))
        assert of(actions.Connect, asked) == [actions.Connect(2, 0.0, 1)]

    def test_speech_events_are_told_once(self):
        relay = Relay("vad_events=true&utterance_end_ms=1000").opened()
        relay.speak(3.0)
        started = '{"type":"SpeechStarted","channel":[0,1],"timestamp":0.5}'
        ended = '{"type":"UtteranceEnd","channel":[0,1],"last_word_end":1.5}'
        assert relay.tell(events.ProviderMessage(1, started)) == [actions.Deliver(started)]
        relay.says(0.0, 1.6, "hello there")
        assert relay.tell(events.ProviderMessage(1, ended)) == [actions.Deliver(ended)]
        relay.loses_its_connection()  # begins at 0.0, no later than any pause
        assert of(actions.Deliver, relay.tell(events.ProviderMessage(2, started))) == []
        assert of(actions.Deliver, relay.tell(events.ProviderMessage(2, ended))) == []

    def test_each_channel_has_its_own_mark(self):
        relay = Relay("multichannel=true&channels=2").opened()
        relay.speak(4.9)  # half as long: two channels
        relay.says(0.0, 2.0, "left one", channel_index=[0, 2])
        relay.says(0.0, 1.0, "right", channel_index=[1, 2])
        asked = relay.loses_its_connection()
        asked += relay.wait(3.0)
        flushes = [json.loads(sent.text) for sent in of(actions.SendText, asked)]
        assert [(flush["type"], flush["channel"]) for flush in flushes] == [("Finalize", 1), ("Finalize", 0)]


class TestBehind:
    def test_a_long_outage_is_filled_in_late(self):
        relay = Relay().opened()
        relay.speak(3.0)
        relay.says(0.0, 2.0, "one two")
        relay.tell(events.ProviderClosed(1, 1006))
        relay.tell(events.ProviderRefused(2, 503))
        relay.speak(19.0)
        asked = relay.tell(events.ProviderConnected(3, "request-3"))
        [hole] = of(actions.FillLate, asked)
        assert (hole.start, hole.end) == (2.0, pytest.approx(20.5))
        assert hole.heard_from < 2.0
        assert len(hole.audio) == pytest.approx((22.0 - hole.heard_from) * len(SECOND), abs=2)

    def test_what_cannot_be_filled_is_a_declared_gap(self):
        relay = Relay("resumable=true").opened()
        relay.speak(1.0)
        relay.says(0.0, 1.0, "one")
        relay.tell(events.ProviderClosed(1, 1006))
        relay.speak(20.0)
        relay.tell(events.ProviderRefused(2, 503))
        [hole] = of(actions.FillLate, relay.tell(events.ProviderConnected(3, "request-3")))
        asked = relay.tell(events.HoleFilled(hole.start, hole.end, [], failed=True))
        assert of(actions.DeclareGap, asked) == [actions.DeclareGap(hole.start, hole.end)]
        assert delivered(asked, "Gap") == [{"type": "Gap", "start": 1.0, "end": pytest.approx(hole.end)}]

    def test_what_is_held_for_a_provider_that_is_gone_is_bounded(self):
        relay = Relay(limits=Limits(most_held=10 * len(SECOND))).opened()
        relay.speak(1.0)
        relay.tell(events.ProviderClosed(1, 1006))
        asked = relay.speak(100.0)
        holes = of(actions.FillLate, asked)
        assert len(holes) >= 9
        assert relay.session._log.size <= 11 * len(SECOND)
        ends = [0.0, *(hole.end for hole in holes)]
        assert [hole.start for hole in holes] == ends[:-1]

    def test_a_text_message_that_is_too_long_ends_it(self):
        relay = Relay().opened()
        long = json.dumps({"type": "Configure", "keyterms": ["word"] * 10_000})
        asked = relay.tell(events.ClientText(long))
        assert [type(action) for action in asked[:-1]] == [actions.CloseClient, actions.Disconnect]
        assert asked[0].code == 1009
        assert relay.session.state is State.ENDED

    def test_text_messages_that_wait_for_their_place_in_the_audio_are_bounded(self):
        relay = Relay().opened()
        relay.tell(events.ClientAudio(SECOND * 4))
        finalize = events.ClientText('{"type":"Finalize"}')
        closes = [of(actions.CloseClient, relay.tell(finalize)) for _ in range(101)]
        assert not any(closes[:100])
        assert closes[100][0].code == 1008

    def test_audio_that_takes_bytes_but_no_time_is_ended(self):
        """Of such a packet of opus, nothing can be paced or left out for being late."""
        relay = Relay("encoding=opus").opened()
        packet, asked = b"\3\0" + bytes(60_000), []
        for _ in range(400):
            asked += relay.tell(events.ClientAudio(packet))
        assert [action.code for action in of(actions.CloseClient, asked)] == [1008]
        assert asked[-1] == actions.End(EndReason.BAD_AUDIO)
        assert relay.session.held_bytes < 20_000_000

    @pytest.mark.parametrize("spoken", [tenths / 10 for tenths in range(80, 100)])
    def test_a_connection_that_begins_after_a_hole_is_not_asked_to_finalize_at_its_beginning(self, spoken):
        """Nothing is heard twice there, whatever the last digit of its first second."""
        relay = Relay(limits=Limits(most_behind=1.0)).opened()
        relay.tell(events.ProviderClosed(1, 1006))
        relay.speak(spoken)
        asked = relay.tell(events.ProviderConnected(2, "request-2")) + relay.wait(1.0)
        assert of(actions.FillLate, asked)
        assert not of(actions.SendText, asked)

    def test_the_rest_of_a_word_is_left_to_the_hole_though_an_empty_result_comes_before(self):
        relay = Relay(limits=Limits(most_behind=1.0)).opened()
        relay.tell(events.ProviderClosed(1, 1006))
        relay.speak(8.8)
        assert of(actions.FillLate, relay.tell(events.ProviderConnected(2, "request-2")))
        asked = relay.says(0.0, 0.03, connection=2)
        asked += relay.says(0.0, 1.0, "ginning then", connection=2)
        assert [text(message) for message in delivered(asked)] == ["then"]

    def test_a_word_across_two_holes_is_given_out_once(self):
        relay = Relay(limits=Limits(most_held=10 * len(SECOND))).opened()
        relay.speak(1.0)
        relay.tell(events.ProviderClosed(1, 1006))
        first, second = of(actions.FillLate, relay.speak(22.0))
        assert first.end == second.start
        across = Spoken("across", first.end - 0.2, first.end + 0.1)  # as it was heard the first time
        asked = []
        again = Spoken("across", first.end + 0.05, first.end + 0.3)
        for hole, words in [
            (second, [again, Spoken("after", first.end + 0.5, first.end + 0.8)]),
            (first, [across]),
        ]:
            heard = Window(hole.heard_from, hole.end + 1.5, tuple(Heard(word, 0) for word in words))
            message = json.dumps(result(heard, 0.0, is_final=True))
            asked += relay.tell(events.HoleFilled(hole.start, hole.end, [message]))
        asked += relay.tell(events.ClientText('{"type":"CloseStream"}')) + relay.wait(30.0)
        finals = of(actions.StoreFinal, asked)
        assert [text(json.loads(final.text)) for final in finals] == ["across", "after"]


class TestInterims:
    def test_they_are_throttled_and_the_latest_is_delivered_in_its_turn(self):
        relay = Relay("interim_throttle_ms=500").opened()
        relay.speak(3.0)
        assert delivered(relay.says(0.0, 1.0, "a", is_final=False))
        assert not delivered(relay.says(0.0, 1.1, "a b", is_final=False))
        asked = relay.says(0.0, 1.2, "a b c", is_final=False)
        assert not delivered(asked)
        assert [text(each) for each in delivered(relay.wait(0.5))] == ["a b c"]

    def test_a_final_result_takes_the_place_of_one_that_waits(self):
        relay = Relay("interim_throttle_ms=500").opened()
        relay.speak(3.0)
        relay.says(0.0, 1.0, "a", is_final=False)
        relay.says(0.0, 1.1, "a b", is_final=False)
        assert [text(each) for each in delivered(relay.says(0.0, 1.2, "a b c"))] == ["a b c"]
        assert not delivered(relay.wait(1.0))

    def test_a_client_that_does_not_read_loses_them_first_and_finals_never(self):
        relay = Relay().opened()
        relay.speak(3.0)
        relay.tell(events.ClientBlocked())
        assert not delivered(relay.says(0.0, 1.0, "a", is_final=False))
        assert delivered(relay.says(0.0, 1.2, "a b"))
        relay.tell(events.ClientFlowing())
        assert delivered(relay.says(1.2, 2.0, "c", is_final=False))

    def test_a_client_that_does_not_read_for_long_is_closed(self):
        relay = Relay().opened()
        relay.speak(1.0)
        relay.tell(events.ClientBlocked())
        asked = relay.wait(10.1)
        assert [close.code for close in of(actions.CloseClient, asked)] == [4008]


class TestResumable:
    def test_it_is_told_of_its_session_first(self):
        relay = Relay("resumable=true")
        relay.tell(events.Opened())
        asked = relay.tell(events.ProviderConnected(1, "request-1"))
        assert isinstance(asked[0], actions.Accept)
        [first] = delivered(asked, "Session")
        assert first == {
            "type": "Session",
            "session_id": "stream",
            "token": "TOKEN",
            "audio_offset": 0,
            "seq": 0,
            "exact_replay": True,
        }
        assert json.loads(of(actions.Deliver, asked)[0].text) == first

    def test_results_are_numbered_and_acknowledged_when_they_are_stored(self):
        relay = Relay("resumable=true").opened()
        relay.speak(4.5)
        asked = relay.says(0.0, 1.0, "a", is_final=False)
        relay.speak(4.5)
        asked += relay.says(0.0, 9.0, "a b")
        assert [message["seq"] for message in delivered(asked)] == [1, 2]
        [stored] = of(actions.StoreFinal, asked)
        assert stored.seq == 2
        assert delivered(relay.tell(events.FinalsStored(1)), "Ack") == []
        [ack] = delivered(relay.tell(events.FinalsStored(2)), "Ack")
        assert ack == {"type": "Ack", "audio_bytes": stored.resume_from.byte, "seq": 2}
        assert stored.resume_from == actions.AudioMark(6 * len(SECOND), 6.0)

    def test_it_is_told_of_the_providers_connection(self):
        relay = Relay("resumable=true").opened()
        relay.speak(1.0)
        lost = relay.tell(events.ProviderClosed(1, 1006))
        again = relay.tell(events.ProviderConnected(2, "request-2"))
        assert delivered(lost, "Status") == [{"type": "Status", "state": "reconnecting"}]
        assert delivered(again, "Status") == [{"type": "Status", "state": "connected"}]

    def test_while_it_is_gone_its_finals_are_stored(self):
        relay = Relay("resumable=true").opened()
        relay.speak(2.0)
        assert of(actions.Interrupted, relay.tell(events.ClientGone())) == [actions.Interrupted()]
        asked = relay.says(0.0, 1.0, "hello")
        assert of(actions.StoreFinal, asked)
        assert not of(actions.Deliver, asked)

    def test_nobody_coming_back_ends_it(self):
        relay = Relay("resumable=true").opened()
        relay.speak(2.0)
        relay.says(0.0, 2.0, "hello")
        relay.tell(events.ClientGone())
        asked = relay.wait(120.1)
        assert actions.SendText('{"type":"CloseStream"}') in asked
        relay.tell(events.ProviderMessage(1, '{"type":"Metadata"}'))
        assert relay.tell(events.ProviderClosed(1, 1000)) == [actions.End(EndReason.CLIENT_GONE)]

    def test_another_process_takes_it_over(self):
        relay = Relay("resumable=true").opened()
        relay.speak(2.0)
        asked = relay.tell(events.Superseded())
        assert [close.code for close in of(actions.CloseClient, asked)] == [4009]
        assert asked[-2:] == [actions.Disconnect(1), actions.End(EndReason.SUPERSEDED)]

    def test_it_is_moved_when_the_server_drains(self):
        relay = Relay("resumable=true").opened()
        asked = relay.tell(events.Draining(20.0))
        assert delivered(asked, "Status") == [{"type": "Status", "state": "moving"}]
        assert [close.code for close in of(actions.CloseClient, asked)] == [4000]
        assert asked[-1] == actions.End(EndReason.MOVED)

    def test_it_goes_on_where_another_relay_left_off(self):
        relay = Relay("resumable=true").opened()
        relay.speak(4.5)
        relay.says(0.0, 4.0, "one two three four", is_final=False)
        relay.speak(4.5)
        first = of(actions.StoreFinal, relay.says(0.0, 9.0, "one two three four five six seven eight nine"))[
            0
        ]
        resumed = ResumePoint(
            seq=2, tail=(first.text,), audio=first.resume_from, request_id="request-1", connection=1
        )
        relay = Relay("resume=TOKEN", resumed=resumed)
        asked = relay.tell(events.Opened())
        assert of(actions.Connect, asked) == [actions.Connect(2, 0.0)]
        assert of(actions.Accept, asked) == [actions.Accept("request-1")]
        [session] = delivered(asked, "Session")
        assert (session["audio_offset"], session["seq"]) == (first.resume_from.byte, 2)
        assert not of(actions.SendText, relay.tell(events.ProviderConnected(2, "request-2")))
        assert not of(actions.SendText, relay.speak(2.9))  # the end of what was final is not reached yet
        assert of(actions.SendText, relay.speak(2.1)) == [actions.SendText('{"type":"Finalize"}')]
        asked = relay.says(0.0, 5.0, "seven eight nine ten eleven", connection=2)
        [message] = delivered(asked)
        assert text(message).split()[-2:] == ["ten", "eleven"]
        assert message["start"] == 9.0
        assert message["seq"] == 3


class TestDraining:
    def test_who_was_not_answered_yet_is_told_to_come_again(self):
        relay = Relay()
        relay.tell(events.Opened())
        asked = relay.tell(events.Draining(20.0))
        assert [refusal.status for refusal in of(actions.Refuse, asked)] == [503]
        # It has nothing to come back with: what it is told next is another session.
        assert asked[-2:] == [actions.Disconnect(1), actions.End(EndReason.DRAINED)]

    def test_what_a_client_that_is_away_has_said_is_stored(self):
        relay = Relay("resumable=true").opened()
        relay.speak(2.0)
        relay.tell(events.ClientGone())
        assert actions.SendText('{"type":"CloseStream"}') in relay.tell(events.Draining(20.0))
        assert of(actions.StoreFinal, relay.says(0.0, 2.0, "hello"))
        assert relay.tell(events.ProviderClosed(1, 1000)) == [actions.End(EndReason.MOVED)]

    def test_nothing_goes_on_beyond_the_time_there_is(self):
        relay = Relay().opened()
        relay.speak(2.0)
        relay.tell(events.Draining(20.0))
        asked = relay.wait(20.1)
        assert of(actions.FillLate, asked)
        assert asked[-1] == actions.End(EndReason.DRAINED)

    def test_who_cannot_be_moved_may_go_on_until_the_last_seconds(self):
        relay = Relay().opened()
        relay.speak(2.0)
        relay.tell(events.Draining(20.0))
        asked = relay.wait(10.0)
        assert not of(actions.SendText, asked) or "CloseStream" not in of(actions.SendText, asked)[0].text
        asked = relay.wait(5.1)
        assert actions.SendText('{"type":"CloseStream"}') in asked
        relay.says(0.0, 2.0, "hello")
        relay.tell(events.ProviderMessage(1, '{"type":"Metadata"}'))
        asked = relay.tell(events.ProviderClosed(1, 1000))
        assert [close.code for close in of(actions.CloseClient, asked)] == [1012]
        assert asked[-1] == actions.End(EndReason.DRAINED)

    def test_a_client_that_vanished_has_all_it_said_stored(self):
        relay = Relay().opened()
        relay.speak(2.0)
        asked = relay.tell(events.ClientGone())
        assert actions.SendText('{"type":"CloseStream"}') in asked
        asked = relay.says(0.0, 2.0, "hello")
        assert of(actions.StoreFinal, asked)
        assert not of(actions.Deliver, asked)
        relay.tell(events.ProviderMessage(1, '{"type":"Metadata"}'))
        assert relay.tell(events.ProviderClosed(1, 1000)) == [actions.End(EndReason.CLIENT_GONE)]


def streams(number, *, noise, obeys_finalize, cuts, query="", hangs=0.0, clients=0):
    """Speeches of 40 s through sessions that are cut at random."""
    for seed in range(number):
        chance = random.Random(seed)  # noqa: S311  (the same cuts each time)
        said = speech(chance, seconds=40.0)
        world = World(
            Recogniser(said, noise),
            chance,
            seconds=said[-1].end + 0.5,
            query=query,
            obeys_finalize=obeys_finalize,
        ).start()
        for _ in range(cuts):
            code = chance.choice([1000, 1006, 1011, 1012])
            cut = world.hang if chance.random() < hangs else partial(world.drop, code)
            world.after(chance.uniform(0.3, world.seconds), cut)
        for _ in range(clients):
            lose = partial(world.lose_client, chance.uniform(0.1, 2.0), with_server=chance.random() < 0.4)
            world.after(chance.uniform(0.3, world.seconds), lose)
        yield world.run()


def tally(worlds):
    lost = repeated = 0
    for world in worlds:
        words = world.check()
        assert world.ended is EndReason.FINISHED
        assert words.is_in_order
        if not world.resumes:
            assert world.client[-1]["type"] == "Metadata"
            assert world.client[-1]["duration"] == pytest.approx(world.seconds, abs=0.02)
            assert world.client[-1]["request_id"] == "session-of-1"
        lost += len(words.lost)
        repeated += len(words.repeated)
    return lost, repeated


@pytest.mark.parametrize("query", ["", "resumable=true"])
@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_cuts_lose_nothing_and_repeat_nothing(noise, query):
    assert tally(streams(20, noise=noise, obeys_finalize=True, cuts=3, query=query)) == (0, 0)


@pytest.mark.parametrize("cuts", [0, 1])
@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_clients_that_come_back_lose_nothing_and_repeat_nothing(noise, cuts):
    """Also after the server was killed."""
    worlds = list(streams(20, noise=noise, obeys_finalize=True, cuts=cuts, clients=2, query="resumable=true"))
    assert sum(world.resumes for world in worlds) > 20
    assert tally(worlds) == (0, 0)


@pytest.mark.parametrize("obeys_finalize", [True, False])
def test_sockets_that_hang_lose_nothing_and_repeat_nothing(obeys_finalize):
    assert tally(streams(15, noise=0.0, obeys_finalize=obeys_finalize, cuts=3, hangs=0.7)) == (0, 0)


def test_numbers_rise_by_one_whatever_happens():
    for world in streams(10, noise=1.0, obeys_finalize=True, cuts=4, query="resumable=true", hangs=0.3):
        numbers = [message["seq"] for message in world.client if message["type"] == "Results"]
        assert numbers == list(range(1, len(numbers) + 1))


def test_after_a_cut_audio_is_never_sent_faster_than_deepgram_allows():
    for world in streams(10, noise=0.0, obeys_finalize=True, cuts=3):
        for upstream in world.upstreams.values():
            for instant, _ in upstream.received:
                sent = sum(seconds for at, seconds in upstream.received if at <= instant)
                assert sent <= 1.25 * (instant - upstream.opened_at) + 1.3


@pytest.mark.full_load
@pytest.mark.timeout(600)
@pytest.mark.parametrize("noise", [0.0, 1.0])
@pytest.mark.parametrize(("cuts", "clients"), [(2, 0), (0, 2)], ids=["provider", "client"])
def test_a_thousand_cuts_lose_nothing_and_repeat_nothing(noise, cuts, clients):
    query = "resumable=true" if clients else ""
    worlds = streams(500, noise=noise, obeys_finalize=True, cuts=cuts, clients=clients, query=query)
    assert tally(worlds) == (0, 0)
