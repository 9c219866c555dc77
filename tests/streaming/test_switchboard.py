"""What the sessions of one process share."""

import asyncio
from uuid import uuid4

import pytest
from django.db import OperationalError

from streaming import switchboard
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
