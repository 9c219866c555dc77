"""Evaluations in the admin: the list, and the page of one with its chart, comparison and differences."""

import pytest
from django.urls import reverse

from jobs.models import EvaluationRun
from jobs.quality import runs
from jobs.quality.manifest import Entry, Manifest
from tests.jobs.rows import make_project

LIST = reverse("admin:jobs_evaluationrun_changelist")
SAID = ["It was the best of times.", "It was the worst of times."]


def page(run):
    return reverse("admin:jobs_evaluationrun_change", args=(run.pk,))


@pytest.fixture
def evaluated(db):
    """Makes a run in which this was heard; None: nothing was, for a reason."""
    project = make_project()
    entries = [
        Entry(f"line {number}", f"{number}.wav", None, text, tags=("books",), seconds=3.0)
        for number, text in enumerate(SAID, 1)
    ]
    manifest = Manifest("calls.jsonl", "0" * 64, entries)

    def make(*heard, **fields):
        run = runs.begin(
            manifest, EvaluationRun(project=project, **{"options": {"model": "nova-3"}} | fields)
        )
        for piece, text in zip(runs.left(run, manifest), heard, strict=True):
            piece.recording.heard, piece.recording.error = text or "", "" if text else "failed: no <answer>"
            list(runs.score([piece.recording]))
        runs.finish(run)
        return run

    return make


def test_the_list_shows_rates_and_how_sure_they_are(staff_client, evaluated):
    evaluated(*SAID, name="nightly")
    evaluated(SAID[0], SAID[0], name="noisy", is_live=True, noise="/sounds/street.wav", snr=10.0)

    content = staff_client.get(LIST).content.decode()

    assert "nightly" in content
    assert "0.00%" in content
    assert "8.33%" in content
    assert "street.wav at 10 dB" in content


def test_a_run_shows_its_words_the_worst_first(staff_client, evaluated):
    run = evaluated(SAID[0], "It was the first of <times>.")

    response = staff_client.get(page(run))

    content = response.content.decode()
    assert "<del>worst</del> <ins>first</ins>" in content
    assert "<times>" not in content
    assert content.index("2.wav") < content.index("1.wav")
    assert response.context["figures"][0][1] == "8.33%"


def test_what_nothing_came_of_yet_stands_before_the_worst(staff_client, evaluated):
    run = evaluated(SAID[0], "It was the first of times.")
    run.recordings.filter(source="1.wav").update(errors=None)

    content = staff_client.get(page(run)).content.decode()

    assert content.index("1.wav") < content.index("2.wav")


def test_what_failed_is_told_and_not_counted(staff_client, evaluated):
    content = staff_client.get(page(evaluated(SAID[0], None))).content.decode()

    assert "failed: no &lt;answer&gt;" in content
    assert "1 of its recordings could not be transcribed" in content


def test_a_run_that_failed_as_a_whole_or_was_not_finished_has_a_page_too(staff_client, evaluated):
    failed, unfinished = evaluated(None, None), evaluated(*SAID)
    EvaluationRun.objects.filter(pk=unfinished.pk).update(finished_at=None, scores={})

    assert "could not be transcribed" in staff_client.get(page(failed)).content.decode()
    assert f"--resume {unfinished.pk}" in staff_client.get(page(unfinished)).content.decode()
    assert "unfinished" in staff_client.get(LIST).content.decode()


def test_the_chart_has_a_bar_for_each_run_of_the_kind(staff_client, evaluated):
    first, second = evaluated(*SAID), evaluated(SAID[0], SAID[0])
    evaluated(SAID[0], "", is_live=True)

    over_time = staff_client.get(page(second)).context["over_time"]

    assert [run for run, *_ in over_time["runs"]] == [second, first]
    # One of twelve words.
    assert over_time["bars"].totals == {"substitutions": 833, "deletions": 0, "insertions": 0}
    assert over_time["highest"] == "8.33%"


def test_a_run_is_compared_with_another_of_its_manifest(staff_client, evaluated):
    before, after = evaluated(*SAID), evaluated(SAID[0], SAID[0])

    content = staff_client.get(page(after), {"before": before.pk}).content.decode()

    assert "+8.33 points" in content
    assert "WER 0.00% to 8.33%, of 2 recordings." in content
    assert "16.67% (was 0.00%)" in content


def test_superusers_delete_runs_and_nobody_changes_them(root_client, staff_client, evaluated):
    run = evaluated(*SAID)
    delete = reverse("admin:jobs_evaluationrun_delete", args=(run.pk,))

    assert staff_client.post(delete, {"post": "yes"}).status_code == 403
    assert root_client.post(delete, {"post": "yes"}).status_code == 302
    assert not EvaluationRun.objects.exists()
