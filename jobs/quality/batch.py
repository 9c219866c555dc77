"""Recordings as jobs, as anybody's are: kept, queued, and transcribed by whoever does it."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable
from dataclasses import replace
from pathlib import Path

from django.core.exceptions import ObjectDoesNotExist

from jobs import intake
from jobs.audio.keeping import keep
from jobs.audio.received import ReceivedFile, received
from jobs.intake import Order
from jobs.models import EvaluatedRecording, Recording, Status, TranscriptionJob
from jobs.quality.runs import Piece
from jobs.quality.sound import Noise, Undecodable, as_wav, with_noise
from jobs.refusal import Refusal
from jobs.running.alone import advance

LOOK_SECONDS = 0.2


def transcribed(
    pieces: Iterable[Piece], order: Order, noise: Noise | None, *, at_once: int, alone: bool
) -> Generator[EvaluatedRecording]:
    """Each as its job has ended: with what was `heard`, or why not. So many are open at once, and no more.

    `order` is that of each, but for its options. `alone`: jobs.running.alone. What was submitted before an
    interruption is waited for, and not submitted again. UnknownRegion if the order pins one that is none.
    """
    waiting, pause = iter(pieces), threading.Event()
    open_ones: list[tuple[EvaluatedRecording, TranscriptionJob]] = []
    while True:
        while len(open_ones) < at_once and (piece := next(waiting, None)):
            try:
                open_ones.append((piece.recording, _job(piece, order, noise)))
            except (Refusal, Undecodable, OSError) as error:
                piece.recording.error = str(error)[:500]
                yield piece.recording
        if not open_ones:
            return
        for recording, job in open_ones.copy():
            try:
                advance(job, alone=alone)
                if not job.is_ended:
                    continue
                _settle(recording, job)
            except ObjectDoesNotExist:
                recording.error = "its job or transcript was deleted meanwhile"
            open_ones.remove((recording, job))
            yield recording
        pause.wait(LOOK_SECONDS)


def _job(piece: Piece, order: Order, noise: Noise | None) -> TranscriptionJob:
    """Its job of before, unless that came to nothing; else a new one, by which it is found again."""
    recording, job = piece.recording, piece.recording.job
    if job is None or (job.is_ended and job.status != Status.COMPLETED):
        ordered = replace(order, options=piece.options, tags=recording.tags)
        if piece.path is None:
            job = intake.submit(ordered, url=recording.source)
        else:
            job = intake.submit(ordered, recording=_kept(piece.path, order, noise))
        recording.job = job
        EvaluatedRecording.objects.filter(pk=recording.pk).update(job=job)
    return job


def _kept(path: Path, order: Order, noise: Noise | None) -> Recording:
    """The same audio is kept once in a project, however often it is evaluated."""
    with _file(path, noise) as file:
        kept = Recording.objects.filter(project=order.project, sha256=file.sha256, audio_deleted_at=None)
        return kept.first() or keep(order.project, file)


def _file(path: Path, noise: Noise | None) -> ReceivedFile:
    if noise is None:
        return received(path)
    file = ReceivedFile(f"{path.stem} at {noise.snr:g} dB.wav")
    file.receive(as_wav(with_noise(path, noise)))
    file.complete()
    return file


def _settle(recording: EvaluatedRecording, job: TranscriptionJob) -> None:
    recording.region, recording.seconds = job.region, job.duration or recording.seconds
    if job.status == Status.COMPLETED:
        recording.heard = job.transcripts.filter(author="").latest("version").text
        recording.error = ""
    else:
        recording.error = f"{job.status}: {job.error_message} ({job.error_code})"[:500]
