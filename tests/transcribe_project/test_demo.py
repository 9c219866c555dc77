"""A demo that looks alive, and that the service's own pages and rules take for real."""

from collections import Counter
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db.models import Max, Min
from django.urls import reverse
from django.utils import timezone

from jobs.models import Batch, Membership, Project, Status, TranscriptionJob, WebhookEndpoint
from jobs.transcripts.exports import FORMATS
from streaming.models import LiveSession, State
from transcribe_project.demo import seed

pytestmark = pytest.mark.django_db
JOBS = 200


@pytest.fixture
def now():
    now = timezone.now()
    seed(JOBS, now)
    return now


def test_it_has_jobs_of_every_age_and_kind(now):
    jobs = TranscriptionJob.objects.all()
    ages = jobs.aggregate(first=Min("created_at"), last=Max("created_at"))

    assert jobs.count() == JOBS
    assert now - ages["first"] > timedelta(days=25)
    assert now - ages["last"] < timedelta(hours=1)
    statuses = Counter(jobs.values_list("status", flat=True))
    assert statuses.most_common(1)[0][0] == Status.COMPLETED
    assert statuses[Status.QUEUED] > 0 and statuses[Status.FAILED] > 0


def test_what_is_open_has_audio_that_can_be_transcribed(now):
    queued = TranscriptionJob.objects.filter(status=Status.QUEUED).first()

    with queued.recording.file.open() as audio:
        assert audio.read(4) == b"RIFF"


def test_its_transcripts_can_be_exported_in_every_format(now):
    job = TranscriptionJob.objects.filter(status=Status.COMPLETED).first()
    transcript = job.transcripts.get()

    assert all(transcript.text.split()[0] in export.write(transcript) for export in FORMATS.values())


def test_it_has_people_batches_failing_webhooks_and_sessions_on_air(now):
    assert Membership.objects.count() == 25
    assert Batch.objects.filter(finished_at=None).count() == 5
    assert WebhookEndpoint.objects.failing().count() == 2
    assert LiveSession.objects.filter(state=State.LIVE).count() == 3


@pytest.mark.django_db(transaction=True)
def test_running_it_again_adds_jobs_to_the_same_projects(now):
    call_command("seed_demo", jobs=5, verbosity=0)

    assert TranscriptionJob.objects.count() == JOBS + 5
    assert Project.objects.filter(name__startswith="Demo").count() == 5


def test_the_pages_show_it(now, admin_client):
    for page in (
        "index",
        "jobs_transcriptionjob_changelist",
        "jobs_batch_changelist",
        "jobs_delivery_changelist",
        "streaming_livesession_changelist",
    ):
        text = admin_client.get(reverse(f"admin:{page}")).content.decode()

        assert "demo" in text.lower(), page
