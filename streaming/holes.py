"""Filling the holes that a live connection left, by the batch path.

The relay has its holes filled while the session is live, and the session's rules fit what comes into place.
What is left when the session has ended, since its process died or the provider was away for too long, workers
fill: the audio is stored before anything is asked.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.db import connections, transaction
from django.db.models import Max
from django.utils import timezone

from jobs.forgetting.files import remove
from jobs.transcripts.options import to_query
from jobs.transcripts.results import MalformedAnswer, Word, parse
from routing.provider import (
    AudioFile,
    ProviderEndpoint,
    ProviderError,
    ProviderRejected,
    ProviderUnavailable,
    provider_for,
)
from routing.regions import Region, regions_within
from routing.transport import Call
from streaming import news
from streaming.as_recording import NOT_RECORDED, header_for, recording_options
from streaming.database import in_database
from streaming.models import FinalResult, Happening, Hole, LiveSession, TimelineEntry, heard
from streaming.rules.events import HoleFilled
from streaming.rules.merge import Spoken, fit_hole

logger = logging.getLogger(__name__)

CALL_SECONDS = 120.0
# While the session is live.
LIVE_PAUSES = (0.0, 1.0, 2.0, 4.0, 8.0)
# After it: with doubled pauses that is a good hour.
MOST_ATTEMPTS = 12
PAUSE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 900.0
FILLED_AT_A_TIME = 100
# Seconds of results beside a hole that tell where what fills it begins and ends; how much earlier a word may
# have begun of which the connection after the hole heard the rest; and what counts as the same instant.
BESIDE = 3.0
BEGUN_BEFORE = 0.3
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
        opted_out = "false" if session.project.improve_provider_models else "true"
        query = [*to_query(recording_options(session.options)), ("mip_opt_out", opted_out)]
        region = _region_of(session)
        provider = provider_for(ProviderEndpoint(region.base_url, region.api_key))
        answer = provider.transcribe(AudioFile(io.BytesIO(data), len(data)), query, call=Call(CALL_SECONDS))
        try:
            channels = parse(answer.body).channels
        except MalformedAnswer as error:
            raise ProviderUnavailable(error.code, error.message) from None
        hole.results = [
            json.dumps(
                _message(hole, channel["index"], len(channels), words, hole.heard_from, words[-1]["end"])
            )
            for channel in channels
            if (words := _in_session(hole, channel["words"]))
        ]
        hole.save(update_fields=["results"])
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
    logger.warning("The hole %s stays: %s", hole, error)
    told = {"start": hole.start, "end": hole.end}
    known = hole.session.timeline.filter(type=Happening.GAP, details=told)
    with transaction.atomic():
        if not known.exists():
            TimelineEntry.objects.create(session=hole.session, type=Happening.GAP, details=told)
        _end(hole)


def _add(hole: Hole, results: list[str]) -> None:
    """What fits into the hole becomes late results of the session."""
    with transaction.atomic():
        # Two holes of one session are settled one after the other.
        session = LiveSession.objects.select_for_update().get(pk=hole.session_id)
        seq = session.finals.aggregate(last=Max("seq"))["last"] or 0
        for message in map(json.loads, results):
            start, end, words = _fitted(hole, message)
            if words:
                seq += 1
                index, count = message["channel_index"]
                late = _message(hole, index, count, words, start, end) | {"seq": seq, "late": True}
                FinalResult.parsed(
                    session.pk, seq, json.dumps(late), late=True, connection=session.connections + 1
                ).save(force_insert=True)
        LiveSession.objects.filter(pk=session.pk).update(last_seq=seq)
        _end(hole)
        news.tell([session.pk])


def _fitted(hole: Hole, message: dict[str, Any]) -> tuple[float, float, list[Word]]:
    """Of the words that were heard around the hole, those that no result beside it has; and its span."""
    words = heard(message).words
    finals = list(hole.session.finals.filter(channel=message["channel_index"][0], late=False))
    before = [final for final in finals if final.end <= hole.start + _EDGE]
    after = [word for final in finals if final.start >= hole.end - _EDGE for word in _spoken(final.words)]
    start = max((final.end for final in before), default=hole.start)
    end = max(start, min(after[0].start, hole.end + BEGUN_BEFORE) if after else hole.end)
    known = [word for final in before for word in _spoken(final.words) if word.end > start - BESIDE]
    coming = [word for word in after if word.start < end + BESIDE]
    return start, end, words[fit_hole(known, _spoken(words), coming, start, end)]


def _end(hole: Hole) -> None:
    with transaction.atomic():
        Hole.objects.filter(pk=hole.pk).update(settled_at=timezone.now())
        remove([hole.stored_name])


def _spoken(words: list[Word]) -> list[Spoken]:
    return [Spoken(word.get("punctuated_word", word["word"]), word["start"], word["end"]) for word in words]


def _message(
    hole: Hole, channel: int, channels: int, words: list[Word], start: float, end: float
) -> dict[str, Any]:
    """As the live socket would have said it."""
    confidences = [word["confidence"] for word in words if word["confidence"] is not None]
    said = " ".join(word.get("punctuated_word", word["word"]) for word in words)
    confidence = round(sum(confidences) / len(confidences), 4) if confidences else 0.0
    return {
        "type": "Results",
        "channel_index": [channel, channels],
        "duration": round(end - start, 6),
        "start": start,
        "is_final": True,
        "speech_final": True,
        "channel": {"alternatives": [{"transcript": said, "confidence": confidence, "words": words}]},
        "metadata": {"request_id": hole.session.request_id},
        "from_finalize": False,
    }


def _in_session(hole: Hole, words: list[Word]) -> list[Word]:
    """In the session's time."""
    return [
        {**word, "start": word["start"] + hole.heard_from, "end": word["end"] + hole.heard_from}
        for word in words
    ]


def _region_of(session: LiveSession) -> Region:
    """The session's, or another that its project allows."""
    allowed = regions_within(session.project.residency)
    if not allowed:
        raise ProviderUnavailable("no_region", "No region may take the audio now.")
    return next((region for region in allowed if region.name == session.region), allowed[0])
