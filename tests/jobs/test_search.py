"""Finding jobs by words."""

import importlib

import pytest
from django.db import connection

from jobs import search
from jobs.ids import uuid7
from jobs.models import Recording, Status, Transcript, TranscriptionJob
from jobs.search import found, words_of
from tests.jobs.rows import make_job, make_project

pytestmark = pytest.mark.django_db


@pytest.fixture
def project():
    return make_project()


def make(project, text="", filename="", **fields):
    recording = Recording.objects.create(
        id=uuid7(), project=project, filename=filename, sha256=uuid7().hex, size=1, media_type="", codec=""
    )
    job = make_job(Status.COMPLETED, project=project, recording=recording, **{"url": ""} | fields)
    if text:
        Transcript.objects.create(job=job, run=1, version=1, text=text)
    return job


def jobs_with(text):
    return list(TranscriptionJob.objects.filter(found(text)))


def test_what_was_said_is_found(project):
    said = make(project, text="Nobody told the walrus.")
    make(project, text="Nobody else was there.")

    assert jobs_with("told the WALRUS") == [said]


def test_names_addresses_ids_and_error_codes_are_found(project):
    named = make(project, filename="call-2026-11-21-00012.wav")
    linked = make(project, url="https://media.example.com/talks/opening.mp3?token=x")
    failed = make(project, error_code="provider_error")

    assert jobs_with("00012") == [named]
    assert jobs_with("media.example.com/talks") == [linked]
    assert jobs_with(f" {failed.pk} ") == [failed]
    assert jobs_with("provider_error") == [failed]


@pytest.mark.parametrize("word", ["हिन्दी", "ดีครับ", "தமிழ்", "كَتَبَ"])
def test_words_with_vowel_signs_are_found(project, word):
    said = make(project, text=f"a {word} b")
    make(project, text="a b")

    assert jobs_with(word) == [said]


@pytest.mark.parametrize("text", ["...", "' OR 1=1 --", "a & !b | (", "%", "\\", ":*", "'"])
def test_nothing_in_what_is_looked_for_is_a_command(project, text):
    make(project, text="Hello.")

    assert jobs_with(text) in ([], list(TranscriptionJob.objects.all()))


@pytest.mark.postgresql
def test_words_are_found_by_their_beginnings_in_any_order(project):
    said = make(project, text="The second chapter is about bridges.")

    assert jobs_with("bridg sec") == [said]
    assert jobs_with("bridg third") == []


@pytest.mark.postgresql
def test_of_a_word_that_many_have_the_newest_are_found(project, monkeypatch):
    monkeypatch.setattr(search, "_STATEMENT", search._STATEMENT.replace("LIMIT 1000", "LIMIT 30"))
    jobs = [make(project, text="Good morning.") for _ in range(40)]

    assert len(jobs_with("morning")) == 30
    assert jobs[0] not in jobs_with("morning")


@pytest.mark.postgresql
def test_a_word_that_few_have_is_found_however_old_it_is(project, monkeypatch):
    monkeypatch.setattr(search, "_STATEMENT", search._STATEMENT.replace("LIMIT 1000", "LIMIT 5"))
    rare = make(project, text="A quokka.")
    for _ in range(10):
        make(project, text="Good morning.")

    assert jobs_with("quokka") == [rare]


@pytest.mark.postgresql
def test_the_longest_of_transcripts_is_stored_and_its_beginning_found(project):
    long = make(project, text=" ".join(f"w{number}é" for number in range(400_000)))

    assert jobs_with("w17é") == [long]


@pytest.mark.postgresql
def test_the_indexes_have_the_words_that_are_asked_for(project):
    migration = importlib.import_module("jobs.migrations.0008_search")
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexname FROM pg_indexes WHERE indexname LIKE '%%_words'")
        assert {name for (name,) in cursor.fetchall()} == set(migration.INDEXES)
    for _, column in migration.INDEXES.values():
        assert migration.WORDS.format(column=column) == words_of(column)
