import pytest

from jobs.audio.downloads import READ_BYTES, Download, RangeNotSatisfiable, byte_range


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-3", (0, 4)),
        ("bytes=4-", (4, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-30", (0, 10)),
        ("bytes=4-400", (4, 10)),
        ("bytes=0-1,3-4", None),
        ("bytes=5-2", None),
        ("bytes=-", None),
        ("lines=1-2", None),
    ],
)
def test_one_range_is_understood_and_all_else_is_the_whole(header, expected):
    assert byte_range(header, 10) == expected


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=11-12", "bytes=-0"])
def test_a_range_behind_the_end_is_refused(header):
    with pytest.raises(RangeNotSatisfiable):
        byte_range(header, 10)


async def test_a_file_is_served_asynchronously_in_pieces_and_closed(tmp_path):
    path = tmp_path / "audio"
    path.write_bytes(bytes(3 * READ_BYTES))
    file = path.open("rb")
    response = Download(file, 3 * READ_BYTES, filename="a.wav", content_type="audio/wav")

    pieces = [len(piece) async for piece in response]
    response.close()

    assert pieces == [READ_BYTES] * 3
    assert file.closed
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Content-Disposition"] == 'attachment; filename="a.wav"'
