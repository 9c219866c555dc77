"""Filling the holes that a live connection left, by the batch path.

The relay has its holes filled while the session is live, and the session's rules fit what comes into place.
What is left when the session has ended, since its process died or the provider was away for too long, workers
fill: the audio is stored before anything is asked.
"""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from uuid import UUID

from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.db import connections, transaction
from django.db.models import Max
from django.utils import timezone
from structlog.contextvars import bound_contextvars

from jobs.forgetting.files import remove
from jobs.transcripts.options import to_query
from jobs.transcripts.results import Channel, MalformedAnswer, parse
from routing import limits, tracing
from routing.choice import Capability, Work
from routing.health import choose_region
from routing.limits import Use
from routing.provider import (
    AudioFile,
    ProviderError,
    ProviderRejected,
    ProviderUnavailable,
    provider_for,
)
from routing.regions import Region
from routing.transport import Call
from streaming import metrics, news
from streaming.as_recording import NOT_RECORDED, header_for, recording_options
from streaming.database import in_database
from streaming.models import FinalResult, Happening, Hole, LiveSession, TimelineEntry
from streaming.rules import holes as rules
from streaming.rules import timeline
from streaming.rules.events import HoleFilled
from streaming.rules.merge import Spoken
from streaming.rules.messages import parse as parse_message
from streaming.rules.messages import write
from streaming.rules.timeline import Message

logger = logging.getLogger(__name__)

CALL_SECONDS = 120.0
# While the session is live.
LIVE_PAUSES = (0.0, 1.0, 2.0, 4.0, 8.0)
# After it: with doubled pauses that is a good hour.
MOST_ATTEMPTS = 12
PAUSE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 900.0
FILLED_AT_A_TIME = 100
# The last results before a hole, and what counts as the same instant, in seconds.
LAST = 5
_EDGE = 0.01

# The provider takes its time, which others must not wait for.
_threads = ThreadPoolExecutor(4, thread_name_prefix="hole")


async def filled(
    session: LiveSession, start: float, end: float, heard_from: float, audio: bytes
) -> HoleFilled:
    """For the relay: what was said there, or that it could not be told in a while."""
    hole = await in_database(declare, session, start, end, heard_from, audio)
    loop = asyncio.get_running_loop()
    for pause in LIVE_PAUSES:
        await asyncio.sleep(pause)
        try:
            results = await loop.run_in_executor(_threads, _transcribed_by_itself, hole)
        except ProviderUnavailable as error:
            logger.info("A hole in live session %s: %s", session.pk, error.code)
        except (ProviderError, OSError) as error:
            logger.warning("A hole in live session %s cannot be filled: %s", session.pk, error)
            break
        else:
            return HoleFilled(start, end, results)
    return HoleFilled(start, end, [], failed=True)


def declare(session: LiveSession, start: float, end: float, heard_from: float, audio: bytes) -> Hole:
    """Keep the audio of a hole until it is settled."""
    hole = Hole(session=session, start=start, end=end, heard_from=heard_from, size=len(audio))
    # The row first: what is stored without one would be removed by nobody.
    hole.save(force_insert=True)
    storages["default"].save(hole.stored_name, ContentFile(audio))
    if not Hole.objects.filter(pk=hole.pk).exists():
        remove([hole.stored_name])
    return hole


def transcribe(hole: Hole) -> list[str]:
    """Ask the provider once, unless it was told before. ProviderError, or OSError if storage fails."""
    if hole.results is None:
        session = hole.session
        if session.options.get("encoding") in NOT_RECORDED:
            raise ProviderRejected("not_a_recording", "Packets without a container cannot be sent as a file.")
        with storages["default"].open(hole.stored_name) as stored:
            audio = stored.read()
        data = header_for(session.options, len(audio)) + audio
        query = session.project.imposed_on(to_query(recording_options(session.options)))
        region = _region_for(session)
        provider = provider_for(region.endpoint)
        file = AudioFile(io.BytesIO(data), len(data))
        slot = limits.take(region, Use.QUEUED)
        if slot is None:
            raise ProviderUnavailable("provider_busy", "The provider has no room for another recording now.")
        try:
            with tracing.span("live.hole", parent=session.traceparent, session_id=str(session.pk)):
                answer = provider.transcribe(file, query, call=Call(CALL_SECONDS))
        finally:
            slot.give_back()
        try:
            channels = parse(answer.body).channels
        except MalformedAnswer as error:
            raise ProviderUnavailable(error.code, error.message) from None
        hole.results = [_message(hole, heard, len(channels)) for heard in channels if heard["words"]]
        Hole.objects.unsettled().filter(pk=hole.pk).update(results=hole.results)
    return list(hole.results)


def fill_those_left(stopping: Callable[[], bool]) -> None:
    """Settle the holes of sessions that have ended, as far as the provider can be asked now."""
    for hole in Hole.objects.due().select_related("session__project").order_by("run_at")[:FILLED_AT_A_TIME]:
        if stopping():
            return
        if hole.begin(CALL_SECONDS + PAUSE_SECONDS):
            hole.attempts += 1
            _settle(hole)


def discard(sessions: Collection[UUID]) -> None:
    """Remove the audio of holes of these, and the holes."""
    with transaction.atomic():
        holes = Hole.objects.filter(session__in=sessions)
        remove([hole.stored_name for hole in holes.filter(settled_at=None)])
        holes.delete()


def _transcribed_by_itself(hole: Hole) -> list[str]:
    try:
        return transcribe(hole)
    finally:
        connections.close_all()


def _settle(hole: Hole) -> None:
    if _is_covered(hole):
        _end(hole)
        return
    try:
        results = transcribe(hole)
    except ProviderUnavailable as error:
        if hole.attempts < MOST_ATTEMPTS:
            hole.put_off(min(PAUSE_SECONDS * 2**hole.attempts, LONGEST_PAUSE_SECONDS))
            return
        _give_up(hole, error)
    except (ProviderError, OSError) as error:
        _give_up(hole, error)
    else:
        _add(hole, results)


def _is_covered(hole: Hole) -> bool:
    """Whether results tell of it, filled in by the relay or sent again by the client."""
    middle = (hole.start + hole.end) / 2
    return bool(hole.session.finals.filter(start__lte=middle, end__gte=middle).exists())


def _give_up(hole: Hole, error: Exception) -> None:
    with bound_contextvars(session_id=str(hole.session_id)):
        logger.warning("The hole %s stays: %s", hole, error)
    told = {"start": hole.start, "end": hole.end}
    known = hole.session.timeline.filter(type=Happening.GAP, details=told)
    with transaction.atomic():
        if not known.exists():
            TimelineEntry.objects.create(session=hole.session, type=Happening.GAP, details=told)
            transaction.on_commit(partial(metrics.GAP_SECONDS.inc, hole.end - hole.start))
        _end(hole)


def _add(hole: Hole, results: list[str]) -> None:
    """What fits into the hole becomes late results of the session."""
    with transaction.atomic():
        # Two holes of one session are settled one after the other.
        session = LiveSession.objects.select_for_update().get(pk=hole.session_id)
        last = session.finals.aggregate(last=Max("seq"))["last"] or 0
        late = list(_fitted(hole, results))
        for seq, message in enumerate(late, last + 1):
            extended = {**message, "seq": seq, "connection": session.connections + 1, "late": True}
            FinalResult.parsed(
                session.pk, seq, write(extended), late=True, connection=session.connections + 1
            ).save(force_insert=True)
        LiveSession.objects.filter(pk=session.pk).update(last_seq=last + len(late))
        _end(hole)
        news.tell([session.pk])


def _fitted(hole: Hole, results: list[str]) -> Iterator[Message]:
    """Of what was heard around the hole, that which no result beside it has."""
    finals = list(hole.session.finals.filter(late=False).order_by("start"))
    channels = range(1 + max((final.channel for final in finals), default=0))
    before = [
        [each for each in finals if each.channel == n and each.end <= hole.start + _EDGE] for n in channels
    ]
    fitting = rules.Hole(
        hole.start,
        hole.end,
        [max((final.end for final in heard), default=hole.start) for heard in before],
        [[word for final in heard[-LAST:] for word in _spoken(final)] for heard in before],
    )
    for final in finals:
        if final.start >= hole.end - _EDGE:
            fitting.beside(final.channel, _spoken(final))
    for text in results:
        if (fitted := fitting.fitted(text)) is not None:
            yield fitted[1]


def _spoken(final: FinalResult) -> list[Spoken]:
    return timeline.words(parse_message(final.raw))


def _end(hole: Hole) -> None:
    with transaction.atomic():
        Hole.objects.filter(pk=hole.pk).update(settled_at=timezone.now(), results=None)
        remove([hole.stored_name])


def _message(hole: Hole, channel: Channel, channels: int) -> str:
    """As the live socket would have said it, in the session's time."""
    words = [dict(word) for word in channel["words"]]
    said = {"transcript": channel["text"], "confidence": channel["confidence"] or 0.0, "words": words}
    message: Message = {
        "type": "Results",
        "channel_index": [channel["index"], channels],
        "duration": words[-1]["end"],
        "start": 0.0,
        "is_final": True,
        "speech_final": True,
        "channel": {"alternatives": [said]},
        "metadata": {"request_id": hole.session.request_id},
        "from_finalize": False,
    }
    timeline.shift(message, hole.heard_from)
    return write(message)


def _region_for(session: LiveSession) -> Region:
    """The best for it now; if all are said to be unable, one of them is asked all the same."""
    chosen = choose_region(Work(Capability.SYNC, residency=session.project.residency))
    if chosen is None or not chosen[0].enabled:
        raise ProviderUnavailable("no_region", "No region may take the audio now.")
    return chosen[0]
