"""What users call their files goes into pages, headers and archives, and does nothing there."""

import io
import re
import zipfile

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from jobs import lifecycle
from jobs.admin.downloads import archive
from jobs.audio.downloads import recording_file
from jobs.models import Recording, Status
from tests.jobs.rows import RESULT, make_job, make_project, make_recording

pytestmark = pytest.mark.django_db

NAMES = [
    '"><script>alert(1)</script>.wav',
    "<img src=x onerror=alert(1)>.wav",
    "{{ settings.SECRET_KEY }}{% debug %}.wav",
    "a\r\nSet-Cookie: sessionid=1\r\n\r\n<html>.wav",
    'a"; filename="b.exe',
    "invoice\u202egpj.exe",
    "../../../etc/passwd",
    "..\\..\\windows\\system.ini",
    ".htaccess",
    "CON.wav",
    "=HYPERLINK(1)",
    "\0.wav",
    "名前 mit Ümläuten.wav",
    "x" * 300,
]


@pytest.fixture
def staff() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


def completed_job(name):
    """Of a recording that is called just that: nothing below may rely on what was done to it on its way."""
    project = make_project()
    recording = make_recording(project)
    Recording.objects.filter(pk=recording.pk).update(filename=name.replace("\0", "")[:255])
    recording.refresh_from_db()
    job = make_job(Status.RUNNING, project=project, recording=recording, url="")
    lifecycle.complete(job, RESULT)
    return job


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_comes_in_has_no_directories_and_nothing_that_hides(name):
    kept = Recording.shown_name(name)

    assert kept.isprintable()
    assert not set(kept) & set("/\\")
    assert len(kept) <= 255


def test_pages_show_a_name_as_text(staff):
    jobs = [completed_job(name) for name in NAMES]

    for page in (
        *(reverse("admin:jobs_transcriptionjob_change", args=(job.pk,)) for job in jobs),
        *(reverse("admin:jobs_transcriptionjob_requeue", args=(job.pk,)) for job in jobs),
        reverse("admin:jobs_transcriptionjob_changelist"),
        reverse("admin:jobs_recording_changelist"),
        reverse("admin:index"),
    ):
        html = staff.get(page).content.decode()
        assert "<script>alert" not in html, page
        assert "<img src=x" not in html, page


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_only_ever_saved_whatever_it_is_called(name, staff):
    job = completed_job(name)
    audio = reverse("admin:jobs_transcriptionjob_audio", args=(job.pk,))
    text = reverse("admin:jobs_transcriptionjob_transcript", args=(job.pk, "txt"))

    for response in (recording_file(job.recording), staff.get(audio), staff.get(text)):
        response.close()
        assert response["Content-Disposition"].startswith("attachment")
        assert response["X-Content-Type-Options"] == "nosniff"
        assert response["Content-Security-Policy"].startswith("sandbox")
        assert not set("\r\n") & set("".join(response.headers.values()))
        assert re.fullmatch(
            r"attachment(; filename=\"([^\"\\]|\\.)*\"|; filename\*=utf-8''[\w%.~-]*)?",
            response["Content-Disposition"],
        )


def test_an_archive_has_harmless_names():
    file, _, _ = archive([completed_job(name) for name in NAMES])

    with file, zipfile.ZipFile(io.BytesIO(file.read() if file.seek(0) == 0 else b"")) as bundle:
        for member in bundle.namelist():
            assert re.fullmatch(r"[\w-]+\.\w+", member), member
