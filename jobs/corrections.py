"""Correcting transcripts: each time a version of its own, of whoever did it.

Whoever corrects says which version they have seen; if there is a later one by then, they are told so, and
nothing is written.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from django.db import transaction

from jobs.models import Transcript, TranscriptionJob
from jobs.refusal import Refusal
from jobs.transcripts.corrections import Corrected, Edit, InvalidEdits, corrected, rewritten


class TranscriptChanged(Refusal):
    """There is a later version than the one that was corrected."""

    status = 409

    def __init__(self, latest: Transcript) -> None:
        whose = f"{latest.author} saved" if latest.author else "the job was run again, which made"
        message = f"{whose} version {latest.version} meanwhile: look at that one, and correct it."
        super().__init__("transcript_changed", message[0].upper() + message[1:])


class NotCorrectable(Refusal):
    """What is asked for does not fit the transcript."""


class NothingToCorrect(Refusal):
    status = 404

    def __init__(self) -> None:
        super().__init__("no_transcript", "The job has no such transcript, or none so far.")


def correct(
    job: TranscriptionJob,
    author: str,
    based_on: int,
    *,
    edits: Sequence[Edit] = (),
    confirmed: Collection[int] = (),
    paragraphs: Mapping[int, bool] | None = None,
    text: str | None = None,
    speakers: Sequence[dict[str, Any]] | None = None,
) -> Transcript:
    """A new version: the latest with `edits` made, or with another `text`, and with other names of speakers.

    `confirmed` and `paragraphs` are those of `corrected`. What is not given stays as it was.
    TranscriptChanged, NotCorrectable (invalid_edits), NothingToCorrect.
    """
    latest = _latest(job, based_on)
    try:
        new = (
            corrected(latest, edits, confirmed=confirmed, paragraphs=paragraphs)
            if text is None
            else rewritten(latest, text)
        )
    except InvalidEdits as invalid:
        raise NotCorrectable("invalid_edits", invalid.message) from None
    with transaction.atomic():
        # Only now, since a long text takes seconds to be laid over the words.
        _hold(job)
        if job.transcripts.filter(version__gt=based_on).exists():
            raise TranscriptChanged(job.transcripts.latest("version"))
        return _add(latest, author, new, latest.speakers if speakers is None else list(speakers), latest)


def restore(job: TranscriptionJob, author: str, based_on: int, version: int) -> Transcript:
    """A new version that says what an earlier one did. TranscriptChanged, NothingToCorrect."""
    with transaction.atomic():
        _hold(job)
        latest = _latest(job, based_on)
        earlier = job.transcripts.filter(version=version).first()
        if earlier is None:
            raise NothingToCorrect
        said = Corrected(earlier.text, earlier.words, earlier.utterances, earlier.channels)
        return _add(earlier, author, said, earlier.speakers, latest)


def _hold(job: TranscriptionJob) -> None:
    """The latest version stays that until the transaction ends."""
    # Whoever completes a run holds the job as well while the run's version is numbered.
    list(TranscriptionJob.objects.select_for_update(no_key=True).filter(pk=job.pk).values_list("pk"))


def _latest(job: TranscriptionJob, based_on: int) -> Transcript:
    latest = job.transcripts.order_by("-version").first()
    if latest is None:
        raise NothingToCorrect
    if latest.version != based_on:
        raise TranscriptChanged(latest)
    return latest


def _add(
    origin: Transcript, author: str, said: Corrected, speakers: list[dict[str, Any]], latest: Transcript
) -> Transcript:
    return Transcript.objects.create(
        job_id=origin.job_id,
        run=origin.run,
        version=latest.version + 1,
        author=author[:200],
        confidence=origin.confidence,
        language=origin.language,
        answer=origin.answer,
        speakers=speakers,
        **{name: getattr(said, name) for name in ("text", "words", "utterances", "channels")},
    )
