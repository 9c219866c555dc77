"""What is taken for a manifest, and what is said of one that is not."""

import json

import pytest

from jobs.quality.manifest import ManifestError, read


@pytest.fixture
def write(tmp_path):
    (tmp_path / "calls").mkdir()
    for name in ("a.wav", "calls/b.wav"):
        (tmp_path / name).write_bytes(b"RIFF")

    def written(content):
        path = tmp_path / "manifest.jsonl"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return written


def lines(*items):
    return "\n".join(json.dumps(item) for item in items)


@pytest.mark.parametrize("name", ["file", "audio_filepath", "audio"])
def test_json_lines_name_the_audio_as_people_or_nemo_do(write, name):
    path = write(lines({name: "calls/b.wav", "text": "Hello.", "duration": 3.2, "offset": 0}) + "\n\n")

    entry = read(path).entries[0]

    assert (entry.place, entry.source, entry.path) == ("line 1", "calls/b.wav", path.parent / "calls/b.wav")
    assert entry.text == "Hello."
    assert entry.seconds is None


def test_an_array_is_one_too(write):
    found = read(write(json.dumps([{"file": "a.wav", "text": ""}, {"file": "calls/b.wav", "text": "Hi"}])))

    assert [entry.place for entry in found.entries] == ["item 1", "item 2"]
    assert found.name == "manifest.jsonl"


def test_what_belongs_to_an_entry_is_kept(write):
    url = "https://audio.example/a.wav"
    told = {"url": url, "text": "Hallo", "language": "de", "tags": ["phone"], "duration": 2, "speaker": "x"}

    entry = read(write(lines(told))).entries[0]

    assert (entry.source, entry.path, entry.seconds) == (url, None, 2)
    assert (entry.language, entry.tags) == ("de", ("phone",))


def test_all_that_is_wrong_is_told_with_its_line(write):
    content = "\n".join(
        [
            lines({"file": "a.wav", "text": "x"}),
            "{",
            "[]",
            lines({"text": "x"}, {"file": "a.wav", "url": "http://x/", "text": "x"}, {"file": "a.wav"}),
            lines({"file": "gone.wav", "text": "x"}, {"file": "calls/../a.wav", "text": "x"}),
            lines({"file": "calls/b.wav", "text": "x", "offset": 3.5}),
            lines({"file": "calls/b.wav", "text": "x", "tags": "phone"}),
            lines({"file": "calls/b.wav", "text": "x", "language": 1}),
            lines({"url": "http://x/", "text": "x", "duration": -1}),
            lines({"file": 7, "text": "x"}, {"file": "\0", "text": "x"}, {"file": "a.wav", "text": "\ud800"}),
        ]
    )

    with pytest.raises(ManifestError) as raised:
        read(write(content))

    wrong = raised.value.wrong
    assert [line.partition(":")[0] for line in wrong] == [f"line {number}" for number in range(2, 16)]
    assert wrong[5].endswith("gone.wav")
    assert wrong[6] == "line 8: calls/../a.wav is on line 1 already"


@pytest.mark.parametrize("content", ["", "\n", "[]", "[1,", "[1]", b"\xff\xfe"])
def test_a_file_that_names_no_recordings_is_refused(write, content):
    with pytest.raises(ManifestError):
        read(write(content))
