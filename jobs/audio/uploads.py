"""Large files, a part at a time: begun, received, and made a recording like any other.

An upload lives for 24 hours after it was last used; then the purge removes it (`expire`), and its recording
too if no job has that.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q

from jobs.audio.keeping import described
from jobs.audio.parts import Part, UploadConflict, parts
from jobs.audio.probe import ProbeError, probe
from jobs.audio.received import check_disk
from jobs.database_clock import seconds_from_now
from jobs.database_pool import give_back
from jobs.forgetting.deletion import delete_if_unused
from jobs.models import ApiKey, Project, Recording, Upload
from jobs.models.upload import KEPT_FOR


def begin(
    project: Project,
    *,
    filename: str,
    size: int,
    sha256: str = "",
    user: User | None = None,
    key: ApiKey | None = None,
) -> Upload:
    """Make an upload that has no byte yet.

    InsufficientStorage if the disk has no room for it, UploadConflict if the project has too many unfinished.
    """
    check_disk(size)
    upload = Upload(
        project=project,
        created_by=user,
        key=key,
        filename=Recording.shown_name(filename),
        size=size,
        sha256=sha256,
        expires_at=seconds_from_now(KEPT_FOR.total_seconds()),
    )
    with transaction.atomic():
        # One after the other, so that none is begun too many.
        Project.objects.select_for_update(no_key=True).get(pk=project.pk)
        if Upload.objects.unfinished().filter(project=project).count() >= settings.MAX_OPEN_UPLOADS:
            many = f"The project has {settings.MAX_OPEN_UPLOADS} unfinished uploads. Finish or delete one."
            raise UploadConflict("too_many_uploads", many)
        upload.save(force_insert=True)
    try:
        # Not within the transaction: it may ask another service.
        upload.parts_id = parts().begin(upload)
        Upload.objects.filter(pk=upload.pk).update(parts_id=upload.parts_id)
    except BaseException:
        upload.delete()
        raise
    upload.refresh_from_db(fields=["created_at", "expires_at"])
    return upload


def progress(upload: Upload) -> tuple[int, list[Part] | None]:
    """How many bytes of it are there, and what its client sends to the storage itself, if it does."""
    if upload.recording_id is not None:
        return upload.size, None
    try:
        return parts().received(upload), parts().to_send(upload)
    except FileNotFoundError:
        raise _gone() from None


def receive(upload: Upload, offset: int, body: Iterable[bytes]) -> int:
    """Append what comes, from `offset` on; how much is there then. What came before an error is kept.

    UploadConflict if the upload stands elsewhere, is finished, or somebody else is sending. OSError.
    """
    if upload.recording_id is not None:
        raise UploadConflict("upload_finished", "The upload is finished.")
    _use(upload)
    try:
        return parts().append(upload, offset, body)
    except FileNotFoundError:
        raise _gone() from None


def finish(upload: Upload) -> Recording:
    """The recording that the upload is, once all of it is there.

    ProbeError, and the upload is gone, if it is no audio that can be transcribed. UploadConflict if bytes are
    missing, or are others than announced, when it is gone as well.
    """
    _use(upload)
    if upload.recording is not None:
        if upload.recording.audio_deleted_at is not None:
            raise _gone()
        return upload.recording
    # It may take minutes.
    give_back()
    try:
        with parts().whole(upload) as (path, sha256):
            if upload.sha256 not in ("", sha256):
                other = f"What arrived has the SHA-256 {sha256}. Upload the file again."
                raise UploadConflict("sha256_mismatch", other)
            found = probe(path)
    except (ProbeError, UploadConflict) as error:
        if error.code not in ("probe_unavailable", "upload_incomplete", "upload_in_use"):
            discard(upload)
        raise
    except FileNotFoundError:
        raise _gone() from None
    recording = described(
        found,
        id=upload.pk,
        project_id=upload.project_id,
        filename=upload.filename,
        file=upload.stored_name,
        size=upload.size,
        sha256=sha256,
    )
    with transaction.atomic():
        locked = Upload.objects.select_for_update().filter(pk=upload.pk).first()
        if locked is None:
            raise _gone()
        # Two may finish it at once, to the same end.
        Recording.objects.bulk_create([recording], ignore_conflicts=True)
        locked.recording = recording
        locked.save(update_fields=["recording"])
    upload.recording = recording
    return recording


def discard(upload: Upload, still: Q | None = None) -> None:
    """Delete the upload, if it is `still` as described, and what it left unless a job has it. OSError."""
    with transaction.atomic():
        # What it may have become, before it: so has whoever deletes a job (jobs.forgetting.deletion).
        list(Recording.objects.select_for_update().filter(pk=upload.pk).values_list("pk"))
        locked = Upload.objects.select_for_update(of=("self",)).filter(still or Q(), pk=upload.pk).first()
        if locked is None:
            return
        recording = locked.recording
        if recording is None:
            # First, so that none is left without a row that tells of it.
            parts().discard(upload)
        locked.delete()
        if recording is not None:
            delete_if_unused(recording)


def expire(upload: Upload) -> None:
    """Remove it if nobody has used it for 24 hours. OSError."""
    discard(upload, still=Q(pk__in=Upload.objects.expired()))


def _use(upload: Upload) -> None:
    if not Upload.objects.filter(pk=upload.pk).extend():
        raise _gone()


def _gone() -> UploadConflict:
    return UploadConflict("upload_gone", "The upload has expired or was deleted. Begin another.")
