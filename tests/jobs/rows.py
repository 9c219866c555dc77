"""Rows for tests, made with no more than what the test is about."""

from datetime import timedelta
from uuid import uuid4

from cryptography.fernet import Fernet
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.db.models import TextField, Value
from django.utils import timezone

from jobs.ids import uuid7
from jobs.models import Project, Recording, Status, TranscriptionJob
from jobs.models.state import ENDED
from jobs.transcripts.results import Result

QUEUE = "transcription.default"
WORKER = "elsewhere:1:1"
LEASE_SECONDS = 60

RESULT = Result(
    text="Hello.",
    confidence=0.9,
    language="en",
    duration=1.5,
    words=[],
    utterances=[],
    channels=[],
    request_id="request",
    models=[],
)


def make_project(name="A"):
    return Project.objects.create(name=name)


def lose_key_of(signing):
    """Have its webhook secret encrypted with a key that is not among ours."""
    foreign = Fernet(Fernet.generate_key()).encrypt(b"secret").decode()
    secret = Value(foreign, output_field=TextField())
    type(signing).objects.filter(pk=signing.pk).update(webhook_secret=secret)


def make_recording(project, audio=b"audio"):
    recording = Recording(
        id=uuid7(), project=project, sha256=uuid4().hex, size=len(audio), media_type="audio/wav", codec="pcm"
    )
    recording.file.name = storages["default"].save(Recording.stored_name(recording.id), ContentFile(audio))
    recording.save(force_insert=True)
    return recording


def build_job(status=Status.QUEUED, **fields):
    """A job, not saved, as one stands in this status: a running one is leased for a minute."""
    now = timezone.now()
    stands = {}
    if status == Status.RUNNING:
        stands = {
            "lease_token": uuid4(),
            "lease_until": now + timedelta(seconds=LEASE_SECONDS),
            "worker": WORKER,
            "claimed_at": now,
            "started_at": now,
        }
    elif status == Status.WAITING:
        stands = {"run_at": now + timedelta(minutes=1)}
    elif status in ENDED:
        stands = {"finished_at": now}
    return TranscriptionJob(
        **{"status": status, "region": "default", "queue": QUEUE, "url": "https://example.com/a.wav"}
        | stands
        | fields
    )


def make_job(status=Status.QUEUED, **fields):
    job = build_job(status, **({"project": fields.pop("project", None) or make_project()} | fields))
    job.save(force_insert=True)
    return job


def ago(seconds):
    return timezone.now() - timedelta(seconds=seconds)


def row(job):
    """All that the job's row holds now."""
    return TranscriptionJob.objects.filter(pk=job.pk).values().get()


def fresh(job):
    """The job as another process reads it now."""
    return TranscriptionJob.objects.get(pk=job.pk)


def claim():
    """The next job, leased to a worker of here."""
    return TranscriptionJob.objects.claim(QUEUE, "here:1:1", LEASE_SECONDS)
