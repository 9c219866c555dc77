import os
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from jobs.audio import probe as probe_module
from jobs.audio.probe import CONCURRENT_PROBES, Probe, ProbeError, peaks, probe
from jobs.audio.probe_server import EXAMINE, MEMORY_BYTES, WALL_SECONDS
from tests.jobs.media import FORMATS, MANIFESTS, SPEECH, STUDIO, encode, overwrite, recording, write_wav
from tests.listener import counting_listener

ROOT = Path(__file__).parents[3]


def refusal(path: Path) -> ProbeError:
    with pytest.raises(ProbeError) as caught:
        probe(path)
    return caught.value


def server_process() -> psutil.Process:
    process = probe_module._server.process
    assert process is not None
    return psutil.Process(process.pid)


def run(*lines: str) -> str:
    """What a program of these lines, in an interpreter of its own, prints."""
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        timeout=30,
        check=True,
    )
    return done.stdout.strip()


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.01)


@pytest.fixture
def anything_else(tmp_path: Path) -> Path:
    """What only the child can read."""
    return recording(tmp_path, "flac")


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    """An hour of AMR, whose frames have to be counted: some 0.3 s of work."""
    path = recording(tmp_path, "amr", seconds=60.0)
    magic, frames = path.read_bytes()[:6], path.read_bytes()[6:]
    path.write_bytes(magic + frames * 60)
    return path


@pytest.fixture
def server(anything_else: Path) -> psutil.Process:
    probe(anything_else)
    return server_process()


@pytest.fixture
def listener() -> Iterator[tuple[int, Callable[[], int]]]:
    with counting_listener() as listening:
        yield listening


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_measured(name: str, tmp_path: Path) -> None:
    _, _, rate, codec, media_type = FORMATS[name]

    found = probe(recording(tmp_path, name))

    assert found.duration == pytest.approx(2.0, abs=0.13)  # encoders pad to whole frames
    assert (found.channels, found.sample_rate, found.codec) == (1, rate, codec)
    assert found.media_type == media_type


def test_the_name_of_the_file_is_never_looked_at(anything_else: Path) -> None:
    playlist_by_name = anything_else.rename(anything_else.with_name("x.m3u8"))

    assert probe(playlist_by_name).container == "flac"


def test_stereo_is_two_channels(tmp_path: Path) -> None:
    assert probe(recording(tmp_path, "flac", layout="stereo")).channels == 2


@pytest.mark.parametrize(
    ("muxer", "encoder", "rate", "media_type"),
    [("mp4", "aac", SPEECH, "video/mp4"), ("webm", "libopus", STUDIO, "video/webm")],
)
def test_of_a_video_its_audio_counts(
    muxer: str, encoder: str, rate: int, media_type: str, tmp_path: Path
) -> None:
    found = probe(encode(tmp_path / "video", muxer, encoder, rate, video=True))

    assert found.duration == pytest.approx(2.0, abs=0.1)
    assert found.media_type == media_type


def test_a_video_without_audio_is_refused(tmp_path: Path) -> None:
    error = refusal(encode(tmp_path / "video", "mp4", None, video=True))

    assert error.code == "unsupported_media"
    assert "has no audio" in error.message


def test_live_webm_without_a_duration_is_measured_by_its_packets(tmp_path: Path) -> None:
    live = recording(tmp_path, "webm", seconds=5.0, options={"live": "1"})

    assert probe(live).duration == pytest.approx(5.0, abs=0.1)


def test_mp3_without_a_length_header_is_measured_by_its_frames(tmp_path: Path) -> None:
    bare = recording(tmp_path, "mp3", seconds=5.0, options={"write_xing": "0", "id3v2_version": "0"})

    assert probe(bare).duration == pytest.approx(5.0, abs=0.1)


def test_a_plain_wav_needs_no_child(tmp_path: Path) -> None:
    probe_module._server.close()

    found = probe(write_wav(tmp_path / "a", frames=24_000, channels=2))

    assert found == Probe(1.5, 2, SPEECH, "pcm_s16le", "wav", "audio/wav")
    assert probe_module._server.process is None


def test_a_wav_whose_writer_never_knew_its_length_runs_to_the_end(tmp_path: Path) -> None:
    for placeholder in (0, 0xFFFFFFFF):
        streamed = overwrite(write_wav(tmp_path / "a"), 40, struct.pack("<I", placeholder))

        assert probe(streamed).duration == 1.0


def test_a_cut_wav_is_as_long_as_what_is_there(tmp_path: Path) -> None:
    cut = write_wav(tmp_path / "a")
    os.truncate(cut, 44 + SPEECH)

    assert probe(cut).duration == 0.5


def test_a_wav_that_declares_less_than_it_holds_is_refused(tmp_path: Path) -> None:
    lying = overwrite(write_wav(tmp_path / "a", frames=SPEECH * 60), 40, struct.pack("<I", 3_200))

    error = refusal(lying)

    assert error.code == "corrupt_media"
    assert "declares 3200 bytes" in error.message


def test_chunks_after_the_audio_are_no_lie(tmp_path: Path) -> None:
    tagged = write_wav(tmp_path / "a", frames=160)
    with tagged.open("ab") as file:
        file.write(struct.pack("<4sI", b"LIST", 50_000) + bytes(50_000))

    assert probe(tagged).duration == 0.01


@pytest.mark.parametrize(
    ("at", "content"),
    [
        pytest.param(22, struct.pack("<H", 0), id="no channels"),
        pytest.param(22, struct.pack("<H", 40), id="forty channels"),
        pytest.param(24, struct.pack("<I", 2_147_483_647), id="absurd rate"),
        pytest.param(24, struct.pack("<I", 1), id="one hertz"),
        pytest.param(24, struct.pack("<I", 0), id="no rate"),
        pytest.param(24, struct.pack("<II", 0, 0), id="no rate and no bytes per second"),
        pytest.param(16, struct.pack("<I", 4_000_000_000), id="endless format"),
    ],
)
def test_a_lying_wav_header_is_refused(at: int, content: bytes, tmp_path: Path) -> None:
    assert refusal(overwrite(write_wav(tmp_path / "a"), at, content)).code == "corrupt_media"


def test_a_wav_without_audio_is_refused(tmp_path: Path) -> None:
    assert refusal(write_wav(tmp_path / "a", frames=0)).code == "corrupt_media"


@pytest.mark.parametrize("claimed", [SPEECH // 2, SPEECH * 3600])
def test_a_flac_header_that_lies_about_its_length_is_found_out(claimed: int, tmp_path: Path) -> None:
    lying = recording(tmp_path, "flac", seconds=30.0)
    with lying.open("rb") as file:  # 36 bits of total samples end STREAMINFO's first 18 bytes (RFC 9639, 8.2)
        rest = int.from_bytes(file.read(26)[18:26])
    overwrite(lying, 18, (rest >> 36 << 36 | claimed).to_bytes(8))

    assert probe(lying).duration == pytest.approx(30.0, abs=0.6)


@pytest.mark.parametrize("name", ["flac", "mp3", "ogg", "webm", "aac", "amr"])
def test_half_a_file_is_half_as_long(name: str, tmp_path: Path) -> None:
    cut = recording(tmp_path, name, seconds=40.0)
    os.truncate(cut, cut.stat().st_size // 2)

    assert probe(cut).duration == pytest.approx(20.0, abs=4.0)


def test_an_mp4_cut_before_its_index_is_corrupt(tmp_path: Path) -> None:
    cut = recording(tmp_path, "m4a", seconds=20.0)
    os.truncate(cut, cut.stat().st_size // 2)

    assert refusal(cut).code == "corrupt_media"


def test_a_recording_over_the_limit_is_refused(anything_else: Path) -> None:
    with pytest.raises(ProbeError) as caught:
        probe(anything_else, max_duration=1.0)

    assert caught.value.code == "media_too_long"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        pytest.param(b"", "corrupt_media", id="empty"),
        pytest.param(b"Dear Sir or Madam,\n" * 500, "unsupported_media", id="text"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + bytes(4_000), "unsupported_media", id="PNG"),
        pytest.param(bytes(10_000), "unsupported_media", id="zeros"),
        pytest.param(b"fLaC" + bytes(10_000), "corrupt_media", id="a signature alone"),
    ],
)
def test_what_is_no_recording_is_refused(content: bytes, code: str, tmp_path: Path) -> None:
    path = tmp_path / "recording.wav"
    path.write_bytes(content)

    assert refusal(path).code == code


@pytest.mark.parametrize("suffix", ["wav", "m3u8", "mpd"])
@pytest.mark.parametrize("kind", MANIFESTS)
def test_a_manifest_reaches_neither_network_nor_neighbour(
    kind: str, suffix: str, tmp_path: Path, listener: tuple[int, Callable[[], int]]
) -> None:
    port, connections = listener
    neighbour = recording(tmp_path, "flac")
    manifest = tmp_path / f"manifest.{suffix}"
    url = f"http://127.0.0.1:{port}/internal.ts"
    manifest.write_text(MANIFESTS[kind].format(url=url, port=port, neighbour=neighbour.name))

    error = refusal(manifest)

    assert error.code == "unsupported_media"
    assert connections() == 0


ANSWER = {
    "duration": 1.0,
    "channels": 1,
    "sample_rate": SPEECH,
    "codec": "pcm_s16le",
    "container": "wav",
    "video": False,
}


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"failure": "something new"},
        {"failure": ["no_audio"]},
        ANSWER | {"duration": "long"},
        ANSWER | {"codec": "pcm\n"},
        ANSWER | {"container": "exe"},
        {key: value for key, value in ANSWER.items() if key != "channels"},
    ],
)
def test_an_answer_of_another_shape_is_not_believed(answer: dict[str, object], anything_else: Path) -> None:
    with anything_else.open("rb") as media, pytest.raises(ProbeError) as caught:
        probe_module._from_answer(answer, media.fileno())

    assert caught.value.code == "probe_crashed"


def test_the_owner_loads_neither_ffmpeg_nor_django() -> None:
    loaded = run("import sys, jobs.audio.probe; print({'av', 'django'} & set(sys.modules))")

    assert loaded == "set()"


@contextmanager
def probing(path: Path) -> Iterator[tuple["Future[Probe]", psutil.Process]]:
    """A probe under way, and the child that does it."""
    server = server_process()
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(probe, path)
        until(lambda: bool(server.children()))
        (child,) = server.children()
        yield result, child


def test_a_child_that_crashes_leaves_the_server_alone(server: psutil.Process, slow: Path) -> None:
    with probing(slow) as (result, child):
        child.send_signal(signal.SIGSEGV)

        with pytest.raises(ProbeError) as caught:
            result.result()

    assert caught.value.code == "probe_crashed"
    assert server_process() == server


def test_a_child_over_its_processor_time_is_a_timeout(server: psutil.Process, slow: Path) -> None:
    with probing(slow) as (result, child):
        child.send_signal(signal.SIGXCPU)

        with pytest.raises(ProbeError) as caught:
            result.result()

    assert caught.value.code == "probe_timeout"


@pytest.mark.full_load
def test_a_child_that_hangs_is_ended(server: psutil.Process, slow: Path) -> None:
    with probing(slow) as (result, child):
        child.suspend()

        with pytest.raises(ProbeError) as caught:
            result.result(timeout=WALL_SECONDS + 2)

    assert caught.value.code == "probe_timeout"
    assert server_process() == server


def test_a_server_killed_in_mid_probe_is_replaced_and_the_probe_repeated(
    server: psutil.Process, slow: Path
) -> None:
    with probing(slow) as (result, child):
        server.kill()

        assert result.result().codec == "amr_nb"

    assert server_process() != server
    until(lambda: not child.is_running())


def test_a_server_killed_while_idle_is_replaced(server: psutil.Process, anything_else: Path) -> None:
    server.kill()
    server.wait()

    assert probe(anything_else).codec == "flac"


@pytest.mark.parametrize("interpreter", ["/bin/false", "/nowhere/python"])
def test_a_server_that_cannot_start_blames_no_recording(
    interpreter: str, anything_else: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe_module._server.close()
    monkeypatch.setattr(sys, "executable", interpreter)

    assert refusal(anything_else).code == "probe_unavailable"


def test_the_server_ends_with_its_owner(anything_else: Path) -> None:
    owner = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import jobs.audio.probe as p; p.probe({str(anything_else)!r});"
            "print(p._server.process.pid, flush=True); import signal; signal.pause()",
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    with owner:
        server = psutil.Process(int(owner.stdout.readline()))
        owner.kill()

    until(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE)


def test_a_forked_copy_of_the_owner_starts_a_server_of_its_own(anything_else: Path) -> None:
    """Forked while another thread holds the lock, as happens in a busy web server."""
    outcome = run(
        "import os, jobs.audio.probe as p",
        f"path = {str(anything_else)!r}",
        "p.probe(path); first = p._server.process.pid",
        "p._server.lock.acquire()",
        "copy = os.fork()",
        "if not copy: p.probe(path); os._exit(p._server.process.pid == first)",
        "p._server.lock.release()",
        "own = os.waitpid(copy, 0)[1] == 0",
        "p.probe(path); print(own, p._server.process.pid == first)",
    )

    assert outcome == "True True"


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
def test_many_threads_share_four_children(server: psutil.Process, slow: Path) -> None:
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children")
    most = 0
    with ThreadPoolExecutor(8) as pool:
        results = [pool.submit(probe, slow) for _ in range(8)]
        while wait(results, timeout=0.01).not_done:
            most = max(most, len(children.read_text().split()))

    assert len({result.result() for result in results}) == 1
    assert 2 <= most <= CONCURRENT_PROBES


def test_a_probe_that_gets_no_turn_blames_no_recording(
    anything_else: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_module, "WALL_SECONDS", 0.01)
    turns = threading.BoundedSemaphore(1)
    monkeypatch.setitem(probe_module._server.turns, EXAMINE, turns)
    with turns:
        error = refusal(anything_else)

    assert error.code == "probe_unavailable"


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
def test_the_child_can_open_nothing_and_knows_nothing(server: psutil.Process, slow: Path) -> None:
    with probing(slow) as (result, child):
        until(lambda: child.rlimit(psutil.RLIMIT_NOFILE) == (4, 4) and child.num_fds() == 4)
        child.suspend()
        proc = Path(f"/proc/{child.pid}")
        descriptors = {int(entry.name): os.readlink(entry) for entry in (proc / "fd").iterdir()}
        environment = child.environ()
        memory, written = child.rlimit(psutil.RLIMIT_AS), child.rlimit(psutil.RLIMIT_FSIZE)
        no_new_privileges = "NoNewPrivs:\t1" in (proc / "status").read_text()
        child.resume()
        result.result()

    assert descriptors.pop(1).startswith("socket:")
    assert descriptors == {0: str(slow), 2: os.devnull, 3: str(slow)}
    assert environment == {}
    assert memory == (MEMORY_BYTES, MEMORY_BYTES)
    assert written == (0, 0)
    assert no_new_privileges


def grants_namespaces() -> bool:
    return bool(shutil.which("unshare")) and subprocess.run(["unshare", "-Un", "true"]).returncode == 0


@pytest.mark.skipif(not grants_namespaces(), reason="this kernel or container grants no network namespace")
def test_the_server_has_no_network(server: psutil.Process) -> None:
    assert os.readlink(f"/proc/{server.pid}/ns/net") != os.readlink("/proc/self/ns/net")


@pytest.mark.parametrize("name", FORMATS)
def test_peaks_are_a_byte_for_each_twentieth_of_a_second(name: str, tmp_path: Path) -> None:
    path = recording(tmp_path, name)

    with path.open("rb") as media:
        drawn = peaks(media)

    assert len(drawn) == pytest.approx(40, abs=3)
    # Noise, which no two encodings make as loud, or silence where none could be encoded.
    assert max(drawn) > 100 or not any(drawn)


def test_peaks_of_what_is_no_audio_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("These are words, not sounds.")

    with path.open("rb") as media, pytest.raises(ProbeError) as refused:
        peaks(media)

    assert refused.value.code == "unsupported_media"
