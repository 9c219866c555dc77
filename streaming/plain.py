"""Stands in for streaming.rules.session until that is there: passes everything on, survives nothing."""

from __future__ import annotations

import re
from typing import Any

from streaming.rules import events
from streaming.rules.actions import (
    Accept,
    Action,
    AudioMark,
    CloseClient,
    Connect,
    Deliver,
    End,
    EndReason,
    Refuse,
    SendAudio,
    SendText,
    StoreFinal,
)

_WINDOW = re.compile(r'"duration": ?([\d.]+), ?"start": ?([\d.]+), ?"is_final": ?(true|false)')


class Session:
    reconnects = 0

    def __init__(self, terms: Any, *, identity: Any = None, resumed: Any = None) -> None:
        self._per_second = 2 * (terms.sample_rate or 16000) * terms.audio_channels
        self._bytes = 0
        self._seq = 0

    @property
    def audio_seconds(self) -> float:
        return float(self._bytes / self._per_second)

    def handle(self, event: events.Event, now: float) -> list[Action]:
        match event:
            case events.ClientAudio(data):
                self._bytes += len(data)
                return [SendAudio(data)] if data else [SendText('{"type":"CloseStream"}')]
            case events.ProviderMessage(connection, text):
                found = _WINDOW.search(text, 0, 200)
                if not found:
                    return [Deliver(text)]
                start = float(found[2])
                end = start + float(found[1])
                if found[3] == "false":
                    return [Deliver(text, end)]
                self._seq += 1
                mark = AudioMark(int(end * self._per_second), end)
                return [
                    Deliver(text, end),
                    StoreFinal(self._seq, 0, start, end, text, mark, connection),
                ]
            case events.ClientText(text):
                return [SendText(text)]
            case events.Opened():
                return [Connect(1, 0.0)]
            case events.ProviderConnected(_, request_id):
                return [Accept(request_id)]
            case events.ProviderRefused(_, status, message):
                return [Refuse(status or 503, message), End(EndReason.REFUSED)]
            case events.ProviderClosed(_, code, reason):
                return [CloseClient(1011 if code == 1006 else code, reason), End(EndReason.FINISHED)]
            case events.ClientGone():
                return [SendText('{"type":"CloseStream"}'), End(EndReason.CLIENT_GONE)]
        return []
