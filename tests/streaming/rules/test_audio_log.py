import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.rules.actions import AudioMark
from streaming.rules.audio_log import open_log
from streaming.rules.opus import opus_seconds

BEGINNING = AudioMark(0, 0.0)


def pcm(origin=BEGINNING):
    """100 frames of 4 bytes a second."""
    return open_log("linear16", 100, 2, origin=origin)


def frames(start, end):
    return b"".join(number.to_bytes(4, "big") for number in range(round(start * 100), round(end * 100)))


@pytest.mark.parametrize(
    ("encoding", "rate", "channels", "size"),
    [
        ("linear16", 16_000, 1, 32_000),
        ("linear16", 48_000, 2, 192_000),
        ("linear32", 8_000, 1, 32_000),
        ("mulaw", 8_000, 1, 8_000),
        ("alaw", 8_000, 2, 16_000),
        ("g729", 8_000, 1, 1_000),
    ],
)
def test_raw_audio_is_timed_by_its_bytes(encoding, rate, channels, size):
    log = open_log(encoding, rate, channels, origin=BEGINNING)
    log.append(bytes(size), 0.0)
    assert log.end == 1.0
    assert log.is_exact


def test_what_is_held_of_many_small_packets_is_what_they_take():
    log = open_log("opus", 48_000, 1, origin=BEGINNING)
    for _ in range(1000):
        log.append(b"\0", 0.0)
    assert log.size > 100_000


def test_what_came_is_taken_once_and_in_order():
    log = pcm()
    log.append(frames(0.0, 1.0), 0.0)
    log.append(frames(1.0, 2.0), 1.0)
    taken = b""
    while not log.is_taken:
        taken += log.take(0.3)
    assert taken == frames(0.0, 2.0)
    assert log.cursor == log.end == 2.0


def test_rewound_it_is_taken_again_from_a_whole_frame():
    log = pcm()
    log.append(frames(0.0, 2.0), 0.0)
    log.skip()
    assert log.rewind(1.014) == 1.01
    assert log.take(5.0) == frames(1.01, 2.0)


def test_forgotten_audio_cannot_be_taken_and_what_is_not_sent_is_not_forgotten():
    log = pcm()
    log.append(frames(0.0, 2.0), 0.0)
    log.take(1.5)
    log.forget(1.0)
    assert log.size == len(frames(1.0, 2.0))
    assert log.rewind(0.0) == 1.0
    log.forget(5.0)
    assert log.take(1.0) == frames(1.0, 2.0)


def test_a_stretch_can_be_read_without_being_taken():
    log = pcm()
    log.append(frames(0.0, 2.0), 0.0)
    assert log.between(0.5, 1.0) == (0.5, frames(0.5, 1.0))
    log.rewind(2.0)
    log.forget(0.75)
    assert log.between(0.5, 1.0) == (0.75, frames(0.75, 1.0))
    assert log.between(1.5, 9.0) == (1.5, frames(1.5, 2.0))


def test_a_resumed_log_goes_on_counting():
    log = pcm(AudioMark(400, 1.0))
    log.append(frames(1.0, 2.0), 0.0)
    assert (log.received, log.end, log.cursor) == (800, 2.0, 1.0)
    assert log.mark(1.5) == AudioMark(600, 1.5)
    assert log.rewind(0.0) == 1.0


def test_messages_may_be_cut_anywhere():
    log, sent = pcm(), frames(0.0, 3.0)
    chance = random.Random(5)  # noqa: S311
    rest = sent
    while rest:
        size = chance.randrange(1, 11)
        log.append(rest[:size], 0.0)
        rest = rest[size:]
        log.take(chance.random() / 10)
    log.rewind(0.0)
    assert log.take(99.0) == sent


def test_a_client_that_sends_single_bytes_costs_little_more_than_its_bytes():
    log = pcm()
    tracemalloc.start()
    try:
        for _ in range(50_000):
            log.append(b"1", 0.0)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 2 * log.size


@given(st.floats(0, 2), st.floats(0, 2))
def test_a_mark_is_never_later_than_its_second(seconds, other):
    log = pcm()
    log.append(frames(0.0, 2.0), 0.0)
    mark = log.mark(seconds)
    assert mark.byte % 4 == 0
    assert seconds - 0.01 <= mark.seconds <= seconds + 1e-4
    assert (log.mark(other).byte >= mark.byte) == (other >= seconds) or abs(other - seconds) < 0.01


@pytest.mark.parametrize(
    ("packet", "seconds"),
    [
        (bytes([0b00000_0_00]), 0.010),  # SILK, one frame
        (bytes([0b00011_0_01]), 0.120),  # two of 60 ms
        (bytes([0b01101_0_10]), 0.040),  # hybrid, two of 20 ms
        (bytes([0b10000_0_00]), 0.0025),  # CELT
        (bytes([0b11111_0_00]), 0.020),
        (bytes([0b11111_0_11, 0b10000011]), 0.060),  # three, told in the second byte
        (bytes([0b11111_0_11]), 0.0),
        (b"", 0.0),
    ],
)
def test_opus_packets_tell_how_long_they_last(packet, seconds):
    assert opus_seconds(packet) == pytest.approx(seconds)


def test_opus_is_repeated_packet_by_packet():
    log = open_log("opus", 48_000, 1, origin=BEGINNING)
    packets = [bytes([0b11111_0_00, number]) for number in range(10)]
    for packet in packets:
        log.append(packet, 0.0)
    log.skip()
    assert log.rewind(0.09) == pytest.approx(0.08)
    assert [log.take(0.0) for _ in range(6)] == packets[4:]
    assert log.is_taken
    assert log.mark(0.15) == AudioMark(14, pytest.approx(0.14))


def test_other_encodings_are_timed_by_when_they_come_and_say_that_it_is_a_guess():
    log = open_log("amr-nb", 8_000, 1, origin=BEGINNING)
    for number in range(5):
        log.append(b"%d" % number, 100.0 + number)
    assert log.is_exact is False
    assert log.end == 4.0
    log.take(99.0)
    log.rewind(2.5)
    assert log.take(99.0) == b"34"
