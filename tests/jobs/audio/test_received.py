"""Files as they are received."""

import pytest

from jobs.audio.received import LOOK_BYTES, InsufficientStorage, ReceivedFile


def test_a_disk_that_fills_up_meanwhile_is_left_its_reserve(settings):
    with ReceivedFile() as file:
        file.receive(bytes(LOOK_BYTES))
        settings.DISK_RESERVE_BYTES = 1 << 60

        with pytest.raises(InsufficientStorage):
            file.receive(b"more")

        assert file.size == LOOK_BYTES


def test_a_small_file_is_refused_without_the_reserve_too(settings):
    settings.DISK_RESERVE_BYTES = 1 << 60

    with ReceivedFile() as file, pytest.raises(InsufficientStorage):
        file.receive(b"a")
