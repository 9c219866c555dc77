"""A run from its beginning to its scores. What has been heard is kept as it comes, whatever happens then."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from django.db import transaction

from jobs.audio.probe import ProbeError, probe
from jobs.models import EvaluatedRecording, EvaluationRun
from jobs.quality.manifest import Entry, Manifest, ManifestError
from jobs.quality.scores import Counts, counted, summary

SCORED = ("seconds", "region", "heard", "counts", "errors", "error")


@dataclass(frozen=True, slots=True)
class Piece:
    """A recording of a run that is still to be heard, and what is to be sent of it."""

    recording: EvaluatedRecording
    path: Path | None
    options: dict[str, Any]


def measured(manifest: Manifest, *, only_files: bool) -> Manifest:
    """With the length of each file. ManifestError: they are no audio; or URLs, where files are needed."""
    wrong: list[str] = []
    entries: list[Entry] = []
    for entry in manifest.entries:
        try:
            seconds = entry.seconds if entry.path is None else probe(entry.path).duration
        except (ProbeError, OSError) as error:
            wrong.append(f"{entry.place}: {entry.source}: {error}")
            continue
        if entry.path is None and only_files:
            wrong.append(f"{entry.place}: {entry.source}: live and with noise only files can be sent")
        entries.append(replace(entry, seconds=seconds))
    if wrong:
        raise ManifestError(wrong)
    return replace(manifest, entries=entries)


def begin(manifest: Manifest, run: EvaluationRun) -> EvaluationRun:
    """Save the run, with all the manifest's recordings."""
    run.manifest, run.manifest_digest = manifest.name, manifest.digest
    with transaction.atomic():
        run.save(force_insert=True)
        EvaluatedRecording.objects.bulk_create(
            EvaluatedRecording(
                run=run,
                position=position,
                source=entry.source,
                said=entry.text,
                language=entry.language,
                tags=list(entry.tags),
                seconds=entry.seconds,
            )
            for position, entry in enumerate(manifest.entries)
        )
    return run


def to_send(run: EvaluationRun, manifest: Manifest) -> list[Entry]:
    """All of it, or what a run that was begun has not heard yet."""
    if run._state.adding:
        return manifest.entries
    return [
        manifest.entries[position]
        for position in run.recordings.unscored().values_list("position", flat=True)
    ]


def left(run: EvaluationRun, manifest: Manifest) -> list[Piece]:
    """What has not been heard yet, or in vain. `manifest` is the run's."""
    return [
        Piece(
            recording,
            manifest.entries[recording.position].path,
            run.options | ({"language": recording.language} if recording.language else {}),
        )
        for recording in run.recordings.unscored().select_related("job")
    ]


def score(heard: Iterable[EvaluatedRecording]) -> Iterator[EvaluatedRecording]:
    """Keep each that comes with what was `heard`, or with an `error`."""
    for recording in heard:
        if not recording.error:
            counts = counted(recording.said, recording.heard)
            recording.counts, recording.errors = asdict(counts), counts.errors
        # What was erased meanwhile is not brought back.
        EvaluatedRecording.objects.filter(pk=recording.pk).update(
            **{name: getattr(recording, name) for name in SCORED}
        )
        yield recording


def finish(run: EvaluationRun) -> None:
    """Sum up what was heard, in all and by tag."""
    scored = [(set(each.tags), Counts(**each.counts)) for each in run.recordings.scored()]
    tags = sorted(set().union(*(tags for tags, _ in scored)))
    run.finish(
        summary([counts for _, counts in scored])
        | {
            "failed": run.recordings.unscored().count(),
            "regions": sorted(set(run.recordings.scored().values_list("region", flat=True)) - {""}),
            "tags": {tag: summary([counts for tags, counts in scored if tag in tags]) for tag in tags},
        }
    )
