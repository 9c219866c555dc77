"""Corrections as versions: by whom, of what, and that nobody overwrites what they have not seen."""

from threading import Barrier, Thread

import pytest
from django.db import connections

from jobs import lifecycle
from jobs.corrections import NothingToCorrect, TranscriptChanged, correct, restore
from jobs.models import Status, Transcript
from jobs.transcripts.corrections import Edit
from jobs.transcripts.exports import to_txt
from jobs.transcripts.results import parse
from tests.jobs.rows import make_job

pytestmark = pytest.mark.django_db


def answer(*words):
    spoken = [
        {"word": word, "punctuated_word": word, "start": at, "end": at + 0.5, "confidence": 0.9, "speaker": 0}
        for at, word in enumerate(words)
    ]
    heard = {"transcript": " ".join(words), "confidence": 0.9, "words": spoken}
    return {"metadata": {}, "results": {"channels": [{"alternatives": [heard]}]}}


def transcribed(*words, **fields):
    job = make_job(Status.RUNNING, **fields)
    lifecycle.complete(job, parse(answer(*words)), answer_name="answers/1.json")
    return job


def test_a_correction_is_the_next_version_and_the_provider_is_not_changed():
    job = transcribed("mister", "miller")

    made = correct(job, "ann", 1, edits=[Edit([1], "Müller")])

    first, second = job.transcripts.all()
    assert (second, second.version, second.run, second.author) == (made, 2, 1, "ann")
    assert (first.text, second.text) == ("mister miller", "mister Müller")
    assert (second.words[0], second.words[1]["start"]) == (first.words[0], first.words[1]["start"])
    assert second.answer == "answers/1.json"


def test_names_of_speakers_stay_until_others_are_given():
    job = transcribed("hello")
    names = [{"channel": None, "speaker": 0, "name": "Ann"}]

    correct(job, "ann", 1, speakers=names)
    correct(job, "bob", 2, text="Hello!")

    latest = job.transcripts.last()
    assert (latest.speakers, to_txt(latest)) == (names, "Ann: Hello!\n")


def test_who_has_not_seen_the_latest_version_is_told_whose_it_is():
    job = transcribed("one")
    correct(job, "ann", 1, text="two")

    with pytest.raises(TranscriptChanged, match="Ann saved version 2 meanwhile") as refused:
        correct(job, "bob", 1, text="three")

    assert (refused.value.code, refused.value.status) == ("transcript_changed", 409)
    assert job.transcripts.last().text == "two"


def test_a_later_run_is_told_as_such():
    job = transcribed("one")
    lifecycle.requeue(job)
    run_again(job)

    with pytest.raises(TranscriptChanged, match="The job was run again, which made version 2 meanwhile"):
        correct(job, "bob", 1, text="three")


def run_again(job):
    claimed = type(job).objects.claim(job.queue, "here:1:1", 60)
    lifecycle.complete(claimed, parse(answer("again")))


def test_a_run_after_a_correction_is_the_version_after_it():
    job = transcribed("one")
    correct(job, "ann", 1, text="two")
    lifecycle.requeue(job)

    run_again(job)

    assert [(each.version, each.run, each.author) for each in job.transcripts.all()] == [
        (1, 1, ""),
        (2, 1, "ann"),
        (3, 2, ""),
    ]


def test_an_earlier_version_comes_back_as_a_new_one():
    job = transcribed("one")
    correct(job, "ann", 1, text="two", speakers=[{"channel": None, "speaker": 0, "name": "X"}])

    restore(job, "bob", 2, 1)

    first, _, third = job.transcripts.all()
    assert (third.text, third.words, third.speakers) == (first.text, first.words, [])
    assert (third.version, third.author) == (3, "bob")


def test_what_there_is_not_cannot_be_corrected_or_restored():
    with pytest.raises(NothingToCorrect):
        correct(make_job(), "ann", 1, text="x")
    with pytest.raises(NothingToCorrect):
        restore(transcribed("one"), "ann", 1, 7)


@pytest.mark.django_db(transaction=True)
def test_of_two_who_save_at_once_one_is_told():
    job = transcribed("one")
    together, told = Barrier(2), []

    def save(who):
        try:
            together.wait(90)
            correct(job, who, 1, text=who)
        except TranscriptChanged:
            told.append(who)
        finally:
            connections.close_all()

    threads = [Thread(target=save, args=(who,)) for who in ("ann", "bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    [loser] = told
    [winner] = {"ann", "bob"} - {loser}
    assert Transcript.objects.get(job=job, version=2).text == winner
    assert Transcript.objects.filter(job=job).count() == 2
