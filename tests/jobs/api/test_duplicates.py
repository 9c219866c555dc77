"""Audio that was submitted before."""

import pytest

from jobs.models import ApiKey
from tests.jobs.api.conftest import JOBS, client_for, upload

pytestmark = pytest.mark.usefixtures("provider")


def submit(api, name="call.wav", seconds=1.0):
    return api.post(JOBS, {"file": upload(name, seconds), "mode": "async"}).json()


def test_a_job_says_as_which_job_its_audio_was_submitted_last(api):
    first, second = submit(api), submit(api, "the same.wav")
    third = submit(api)

    assert first["receipt"]["duplicate_of"] is None
    assert second["receipt"]["duplicate_of"] == first["id"]
    assert third["receipt"]["duplicate_of"] == second["id"]
    assert second["recording"]["filename"] == "the same.wav"


def test_other_audio_and_another_projects_are_no_duplicates(api, other_project):
    submit(api)
    other = client_for(ApiKey.objects.issue(other_project, "tests")[1])

    assert submit(api, seconds=2.0)["receipt"]["duplicate_of"] is None
    assert submit(other)["receipt"]["duplicate_of"] is None


def test_jobs_are_found_by_the_hash_of_their_audio(api):
    first = submit(api)
    submit(api, seconds=2.0)

    found = api.get(JOBS, {"sha256": first["recording"]["sha256"]}).json()["results"]

    assert [job["id"] for job in found] == [first["id"]]
