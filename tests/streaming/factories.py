"""Live sessions as a relay makes them."""

import json

from django.utils import timezone

from jobs.models import Project
from streaming import lifecycle
from streaming.lifecycle import Ending, Final, Moment, Progress
from streaming.models import EndReason, Happening, LiveSession, NotHeld


def results(seq: int, text: str, start: float = 0.0, duration: float = 1.0, **fields) -> Final:
    """A final result in which each word takes its share of the time."""
    spoken = text.split()
    each = duration / max(len(spoken), 1)
    words = [
        {
            "word": word.lower().strip(".,?"),
            "punctuated_word": word,
            "start": round(start + place * each, 3),
            "end": round(start + (place + 1) * each, 3),
            "confidence": 0.9,
        }
        for place, word in enumerate(spoken)
    ]
    message = {
        "type": "Results",
        "channel_index": [0, 1],
        "duration": duration,
        "start": start,
        "is_final": True,
        "speech_final": False,
        "channel": {"alternatives": [{"transcript": text, "confidence": 0.9, "words": words}]},
        "seq": seq,
    } | fields
    return Final(seq, json.dumps(message))


def live(project: Project, **fields) -> LiveSession:
    """One that has reached its provider."""
    session, _ = lifecycle.open_session(project, **({"options": {"model": "nova-3"}, "tags": []} | fields))
    connect(session)
    return session


def connect(session: LiveSession) -> None:
    told = {"region": "default", "request_id": "a-request"}
    store(session, connected_at=timezone.now(), moments=[Moment(Happening.CONNECTED, told)], **told)


def interrupt(session: LiveSession) -> None:
    store(session, is_away=True)


def end(session: LiveSession, reason: EndReason = EndReason.FINISHED, *error: str, **fields) -> None:
    store(session, ending=Ending(reason, *error), **fields)


def store(session: LiveSession, **fields) -> None:
    """Of what it has come to already, nothing else changes. NotHeld."""
    row = LiveSession.objects.get(pk=session.pk)
    known = ("acked_bytes", "acked_seconds", "last_seq", "duration", "connections", "reconnects", "latency")
    come = {name: getattr(row, name) for name in known} | fields
    if lifecycle.store([Progress(session.pk, session.epoch, **come)]):
        raise NotHeld(session.pk)


def progress(session: LiveSession, *finals: Final, **fields) -> Progress:
    """What its relay has to store when these finals have come."""
    come = {
        "acked_bytes": 32_000 * len(finals),
        "acked_seconds": float(len(finals)),
        "last_seq": finals[-1].seq if finals else 0,
        "duration": float(len(finals)),
    }
    return Progress(session.pk, session.epoch, finals=finals, **(come | fields))
