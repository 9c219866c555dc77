"""A received file becomes a recording: probed, and stored under a name of ours."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any
from uuid import UUID

from django.core.files.storage import storages

from jobs.audio import raw
from jobs.audio.probe import Probe, probe
from jobs.audio.received import ReceivedFile
from jobs.database_pool import give_back
from jobs.ids import uuid7
from jobs.models import Project, Recording

NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


def keep(
    project: Project,
    file: ReceivedFile,
    recording_id: UUID | None = None,
    options: Mapping[str, Any] = NO_OPTIONS,
) -> Recording:
    """Probe and store a file; ProbeError, and nothing kept, if it is no audio that can be transcribed.

    `options`: of its job, which may say that it is raw audio.
    `recording_id`: reserved for it by whoever may be killed meanwhile, and wants to find it again.
    """
    recording = stored(project.pk, file, recording_id=recording_id, options=options)
    try:
        recording.save(force_insert=True)
    except Exception:
        if recording_id is None:
            recording.delete_audio()
            raise
        # Under a reserved id another may have stored the same there, and have been the quicker.
        kept = Recording.objects.filter(pk=recording_id).first()
        if kept is None:
            raise
        return kept
    return recording


def stored(
    project_id: UUID,
    file: ReceivedFile,
    stored_as: object = None,
    recording_id: UUID | None = None,
    options: Mapping[str, Any] = NO_OPTIONS,
) -> Recording:
    """The same, but for the row, which is the caller's to save. The file is closed.

    `stored_as` names it in storage if that is not to be the recording's id.
    """
    size = file.size or 0
    # Both may take a minute.
    give_back()
    make = (
        partial(Recording, **raw.described(options, size))
        if raw.is_raw(options)
        else partial(described, probe(file.temporary_file_path()))
    )
    recording = make(
        id=recording_id or uuid7(),
        project_id=project_id,
        filename=Recording.shown_name(file.name or ""),
        sha256=file.sha256,
        size=size,
    )
    # Named before it is there: half of one that finds no room may be.
    recording.file.name = Recording.stored_name(stored_as or recording.id)
    try:
        recording.file.name = storages["default"].save(recording.file.name, file)
    except OSError:
        recording.delete_audio()
        raise
    file.close()
    return recording


def described(found: Probe, **fields: Any) -> Recording:
    """A recording, not saved, with what probing it told."""
    return Recording(
        media_type=found.media_type,
        codec=found.codec,
        duration=found.duration,
        channels=found.channels,
        sample_rate=found.sample_rate,
        **fields,
    )
