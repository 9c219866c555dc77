"""What the sessions of one process share."""

import asyncio
from uuid import uuid4

import pytest
from django.db import OperationalError

from streaming import switchboard
from streaming.refusals import Refused
from streaming.rules.events import Draining
from streaming.switchboard import Switchboard


class Attendance:
    """A relay, as far as the switchboard knows one."""

    epoch = 1

    def __init__(self) -> None:
        self.session_id = uuid4()
        self.told = []

    def happened(self, event):
        self.told.append(event)


@pytest.fixture
async def board():
    return Switchboard()


async def test_leases_are_renewed_as_soon_as_the_database_is_back(board, settings, monkeypatch):
    renewed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def renewing(ids):
        if settings.HEARTBEAT_SECONDS == 0:
            settings.HEARTBEAT_SECONDS = 600
            raise OperationalError("the connection is lost")
        loop.call_soon_threadsafe(renewed.set)

    monkeypatch.setattr(switchboard, "_renew", renewing)
    settings.HEARTBEAT_SECONDS = 0
    relay = Attendance()

    board.join(relay)
    await asyncio.wait_for(renewed.wait(), 60)
    board.leave(relay)


async def test_who_is_being_asked_in_takes_a_place(board, settings):
    settings.LIVE_SESSIONS = 1

    with board.room():
        assert status_of_another(board) == 429

    assert status_of_another(board) is None


async def test_who_was_asked_in_before_a_drain_is_told_of_it_and_waited_for(board):
    relay = Attendance()
    with board.room():
        draining = asyncio.create_task(board.drain(60.0))
        await asyncio.sleep(0)
        assert status_of_another(board) == 503

    board.join(relay)
    await asyncio.sleep(0)

    assert relay.told == [Draining(60.0)]
    assert not draining.done()
    board.leave(relay)
    await draining


async def test_who_is_refused_after_all_is_not_waited_for(board):
    with pytest.raises(LookupError), board.room():
        draining = asyncio.create_task(board.drain(60.0))
        await asyncio.sleep(0)
        raise LookupError
    await asyncio.wait_for(draining, 30)


def status_of_another(board) -> int | None:
    try:
        with board.room():
            return None
    except Refused as refused:
        return refused.status
