"""Noise mixed into speech."""

import wave
from array import array
from io import BytesIO
from math import log10, sin

import pytest

from jobs.quality.sound import Noise, Undecodable, as_wav, mixed, samples
from tests.jobs.media import SPEECH, encode


def tone(loudness, count, step):
    return array("h", (round(loudness * sin(at * step)) for at in range(count)))


def power(found):
    return sum(each * each for each in found) / len(found)


@pytest.mark.parametrize("snr", [20.0, 10.0, 0.0])
def test_noise_is_softer_than_speech_by_what_is_asked_for(snr):
    speech, noise = tone(9000, 16000, 0.07), tone(300, 3000, 0.9)

    found = mixed(speech, Noise(noise, snr), "call.wav")

    added = [one - other for one, other in zip(found, speech, strict=True)]
    assert 10 * log10(power(speech) / power(added)) == pytest.approx(snr, abs=0.1)


def test_it_begins_elsewhere_for_each_recording_and_always_there():
    speech, noise = tone(9000, 800, 0.07), Noise(tone(300, 3000, 0.9), 10.0)

    assert mixed(speech, noise, "a.wav") == mixed(speech, noise, "a.wav") != mixed(speech, noise, "b.wav")


def test_what_would_be_too_loud_is_made_softer_and_not_cut():
    speech = tone(32000, 1600, 0.07)

    found = mixed(speech, Noise(tone(30000, 1600, 0.9), 0.0), "call.wav")

    assert 32000 < max(map(abs, found)) <= 32767
    assert sum(abs(each) == 32767 for each in found) < 3


def test_silence_stays_what_it_is():
    silence, noise = array("h", bytes(200)), tone(300, 100, 0.9)

    assert mixed(silence, Noise(noise, 10.0), "a.wav") == silence
    assert mixed(noise, Noise(silence, 10.0), "a.wav") == noise


def test_files_are_decoded_whole_to_one_channel(tmp_path):
    path = encode(tmp_path / "a.flac", "flac", "flac", 2 * SPEECH, seconds=1.5, layout="stereo")

    found = samples(path)

    assert len(found) == pytest.approx(1.5 * SPEECH, abs=SPEECH / 100)
    with wave.open(BytesIO(as_wav(found))) as written:
        assert written.getparams()[:4] == (1, 2, SPEECH, len(found))


def test_what_is_no_audio_is_told(tmp_path):
    (tmp_path / "letter.wav").write_text("Dear Sir")

    with pytest.raises(Undecodable, match=r"letter\.wav"):
        samples(tmp_path / "letter.wav")
