"""Runs of an evaluation, and what happens to their recordings meanwhile."""

import pytest

from jobs.forgetting.deletion import delete_job
from jobs.intake import Order
from jobs.models import EvaluatedRecording, EvaluationRun
from jobs.quality import batch, runs
from jobs.quality.manifest import Entry, Manifest
from tests.jobs.rows import make_job, make_project


@pytest.mark.django_db
@pytest.mark.parametrize("with_its_job", [True, False])
def test_what_is_erased_during_a_run_is_not_brought_back(monkeypatch, with_its_job):
    project = make_project()
    manifest = Manifest("calls", "0" * 64, [Entry("line 1", "https://a.example/1.wav", None, "hello")])
    run = runs.begin(manifest, EvaluationRun(project=project, options={}))
    run.recordings.update(job=make_job(project=project))

    def erased(job, *, alone):
        EvaluatedRecording.objects.all().delete()
        if with_its_job:
            delete_job(job)
            job.refresh_from_db()
        job.cancel()

    monkeypatch.setattr(batch, "advance", erased)
    order = Order(project=project, options={}, mode="async")

    pieces = runs.left(run, manifest)
    [heard] = runs.score(batch.transcribed(pieces, order, None, at_once=1, alone=False))

    assert heard.error
    assert not EvaluatedRecording.objects.exists()
