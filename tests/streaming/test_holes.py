"""Holes that a live connection left, filled by the batch path of a real sandbox."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.utils import timezone

from jobs.forgetting import erasure
from routing.regions import all_regions
from sandbox.engines.tones import said, spoken_words
from streaming import aftercare, holes, lifecycle
from streaming.database import in_database
from streaming.models import Happening, Hole, LiveSession
from tests.counted import Rise
from tests.sandbox_process import SandboxProcess
from tests.streaming.factories import end, live, progress, results
from transcribe_project.storage_url import storage_at

RATE = 16_000
OPTIONS = {"encoding": "linear16", "sample_rate": str(RATE), "model": "nova-3"}
TEXT = "Baba bebo. Dudu fafe. Gogi jiju. Kaku lelo."
WORDS = spoken_words(TEXT)
AUDIO = said(TEXT, sample_rate=RATE)
# From the end of the second sentence to that of the third.
START, END = WORDS[3].end + 0.1, WORDS[5].end + 0.1


@pytest.fixture(scope="module")
def running() -> Iterator[SandboxProcess]:
    with SandboxProcess() as sandbox:
        yield sandbox


@pytest.fixture
def provider(running, settings, tmp_path) -> Iterator[SandboxProcess]:
    running.reset()
    settings.DEEPGRAM_BASE_URL = running.url
    settings.STORAGES = settings.STORAGES | {"default": storage_at("", tmp_path / "media")}
    all_regions.cache_clear()
    yield running
    all_regions.cache_clear()


def heard(session: LiveSession, seq: int, first: int, until: int, end: float):
    """A final result with the words from `first` on, which ends at `end`."""
    words = WORDS[first:until]
    spoken = [
        {
            "word": word.text.lower().strip("."),
            "punctuated_word": word.text,
            "start": word.start,
            "end": word.end,
            "confidence": 0.9,
        }
        for word in words
    ]
    text = " ".join(word.text for word in words)
    final = results(
        seq,
        text,
        words[0].start,
        end - words[0].start,
        channel={"alternatives": [{"transcript": text, "confidence": 0.9, "words": spoken}]},
    )
    lifecycle.store([progress(session, final)])


def with_hole(project, *, ended: bool = True, **fields) -> tuple[LiveSession, Hole]:
    """A session that heard all but the third sentence, and the hole with half a second more on each side."""
    session = live(
        project, options={"encoding": "linear16", "sample_rate": str(RATE), "model": "nova-3"} | fields
    )
    heard(session, 1, 0, 4, START)
    heard(session, 2, 6, 8, WORDS[7].end)
    # Back to a word's beginning, as the rules do.
    first = WORDS[2].start
    audio = AUDIO[int(first * RATE) * 2 : int((WORDS[6].end + 0.1) * RATE) * 2]
    hole = holes.declare(session, START, END, first, audio)
    if ended:
        end(session)
    return session, hole


def texts(session: LiveSession) -> list[str]:
    return [final.text for final in session.finals.order_by("start")]


def test_what_a_session_left_open_is_filled_once_it_has_ended(project, provider):
    session, _ = with_hole(project)

    aftercare.sweep(lambda: False)

    assert texts(session) == ["Baba bebo. Dudu fafe.", "Gogi jiju.", "Kaku lelo."]
    late = session.finals.get(late=True)
    assert (late.seq, late.raw.count('"late":true')) == (3, 1)
    assert [word["start"] for word in late.words] == pytest.approx([WORDS[4].start, WORDS[5].start], abs=0.05)
    assert LiveSession.objects.get().last_seq == 3


def test_a_hole_is_filled_once(project, provider):
    with_hole(project)

    aftercare.sweep(lambda: False)
    aftercare.sweep(lambda: False)

    assert provider.requests()["total"] == 1


def test_nobody_else_fills_the_holes_of_an_open_session(project, provider):
    with_hole(project, ended=False)

    aftercare.sweep(lambda: False)

    assert provider.requests()["total"] == 0


def test_a_hole_that_the_relay_has_filled_is_left_as_it_is(project, provider):
    session, _ = with_hole(project, ended=False)
    heard(session, 3, 4, 6, END)
    end(session)

    aftercare.sweep(lambda: False)

    assert provider.requests()["total"] == 0
    assert Hole.objects.get().settled_at is not None


def test_what_was_heard_before_the_relay_died_is_not_asked_for_again(project, provider):
    session, hole = with_hole(project, ended=False)
    holes.transcribe(hole)
    end(session)

    aftercare.sweep(lambda: False)

    assert provider.requests()["total"] == 1
    assert "Gogi jiju." in texts(session)


def test_a_hole_is_sent_to_no_region_that_is_switched_off(project, provider, regions):
    session, _ = with_hole(project)
    regions({"name": session.region, "base_url": "http://127.0.0.1:1", "enabled": False}, {"name": "on"})

    aftercare.sweep(lambda: False)

    assert "Gogi jiju." in texts(session)


def test_a_provider_that_is_away_is_asked_again_later(project, provider):
    session, hole = with_hole(project)
    provider.set_faults({"fault": "status=503", "first": 1})

    aftercare.sweep(lambda: False)
    assert not session.finals.filter(late=True).exists()
    assert not Hole.objects.due().exists()

    hole.put_off(0)
    aftercare.sweep(lambda: False)
    assert "Gogi jiju." in texts(session)


def test_what_fills_a_hole_is_kept_in_the_results_alone(project, provider):
    _, hole = with_hole(project)
    holes.transcribe(hole)

    aftercare.sweep(lambda: False)
    assert Hole.objects.get().results is None

    # Whoever has asked at the same time comes too late.
    hole.results = None
    holes.transcribe(hole)
    assert Hole.objects.get().results is None


def test_what_was_never_filled_goes_with_the_results(project, provider):
    with_hole(project)
    LiveSession.objects.update(ended_at=timezone.now() - timedelta(days=31))
    project.transcript_days = 30

    while aftercare.forget(project):
        pass

    assert not Hole.objects.exists()


def test_the_holes_of_a_deleted_project_are_sent_nowhere(project, provider):
    with_hole(project, ended=False)
    erasure.begin(project)

    aftercare.sweep(lambda: False)

    assert provider.requests()["total"] == 0


@pytest.mark.parametrize("case", ["refused", "too often", "packets", "lost"])
def test_a_hole_that_cannot_be_filled_is_a_declared_gap(
    project, provider, case, tmp_path, django_capture_on_commit_callbacks
):
    lost = Rise("transcribe_live_gap_seconds_total")
    session, hole = with_hole(project, **({"encoding": "opus"} if case == "packets" else {}))
    if case == "refused":
        provider.set_faults("status=400")
    elif case == "too often":
        provider.set_faults("status=503")
        Hole.objects.update(attempts=holes.MOST_ATTEMPTS - 1)
    elif case == "lost":
        (tmp_path / "media" / hole.stored_name).unlink()

    with django_capture_on_commit_callbacks(execute=True):
        aftercare.sweep(lambda: False)

    gap = session.timeline.get(type=Happening.GAP)
    assert gap.details == {"start": START, "end": END}
    assert lost.by == pytest.approx(END - START)
    assert Hole.objects.get().settled_at is not None


@pytest.mark.django_db(transaction=True)
def test_the_audio_of_a_hole_is_removed_when_it_is_settled_and_with_its_session(project, provider, tmp_path):
    _, hole = with_hole(project)
    stored = tmp_path / "media" / hole.stored_name
    assert stored.exists()

    aftercare.sweep(lambda: False)
    assert not stored.exists()

    other, left = with_hole(project)
    aftercare.delete(other)
    assert not (tmp_path / "media" / left.stored_name).exists()
    assert not Hole.objects.filter(session=other.pk).exists()


@pytest.mark.django_db(transaction=True)
def test_of_a_hole_that_is_deleted_while_its_audio_is_stored_nothing_stays(project, provider, tmp_path, late):
    session = live(project, options=OPTIONS)
    late(lambda: aftercare.delete(session))

    holes.declare(session, START, END, 0.0, AUDIO)

    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.django_db(transaction=True)
async def test_a_relay_has_its_holes_filled_while_the_session_is_live(project, provider, monkeypatch):
    monkeypatch.setattr(holes, "LIVE_PAUSES", (0.0, 0.0))
    provider.set_faults({"fault": "status=503", "first": 1})
    session = await in_database(live, project, options=OPTIONS)

    found = await holes.filled(session, START, END, 0.0, AUDIO)

    assert (found.start, found.end, found.failed) == (START, END, False)
    assert len(found.results) == 1
    assert "Gogi jiju." in found.results[0]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("fault", ["status=503", "status=400"])
async def test_a_relay_is_told_that_a_hole_cannot_be_filled(project, provider, monkeypatch, fault):
    monkeypatch.setattr(holes, "LIVE_PAUSES", (0.0, 0.0))
    provider.set_faults(fault)
    session = await in_database(live, project)

    found = await holes.filled(session, START, END, 0.0, AUDIO)

    assert (found.results, found.failed) == ([], True)
