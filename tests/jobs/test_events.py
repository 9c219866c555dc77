"""Events, of whatever happens, and who hears of them. Those of jobs: tests/jobs/test_lifecycle.py."""

import json
from datetime import datetime

import pytest
from django.db import transaction

from jobs.events import emit
from jobs.models import Delivery, Event, EventType
from jobs.models.event import as_json
from jobs.webhooks import wire
from tests.jobs.rows import make_project

pytestmark = pytest.mark.django_db
URL = "https://example.com/hook"


def test_an_event_need_not_be_a_jobs():
    project = make_project()

    event = emit(project.pk, EventType.BATCH_COMPLETED, {"id": "b1"}, sequence=2, callback_url=URL)

    written = Event.objects.get()
    assert (written.pk, written.project, written.job, written.sequence) == (event.pk, project, None, 2)
    assert (written.type, written.data) == ("batch.completed", {"id": "b1", "truncated": False})
    assert [delivery.url for delivery in Delivery.objects.all()] == [URL]


def test_what_nobody_asked_to_hear_is_an_event_all_the_same():
    emit(make_project().pk, EventType.STREAM_ENDED, {"id": "s1"})

    assert Event.objects.exists()
    assert not Delivery.objects.exists()


def test_an_event_goes_back_with_what_it_tells_of():
    project = make_project()

    with pytest.raises(RuntimeError), transaction.atomic():
        emit(project.pk, EventType.STREAM_ENDED, {"id": "s1"}, callback_url=URL)
        raise RuntimeError

    assert not Event.objects.exists()
    assert not Delivery.objects.exists()


def test_only_what_an_event_has_is_left_out_of_a_large_one():
    event = emit(make_project().pk, EventType.BATCH_COMPLETED, {"id": "b1", "metadata": {"a": "x" * 20000}})

    assert event.data == {"id": "b1", "metadata": None, "truncated": True}
    assert len(wire.payload(event)) < 20_000


def test_the_instant_is_told_in_utc_as_iso_8601():
    event = emit(make_project().pk, EventType.STREAM_ENDED, {})

    told = json.loads(wire.payload(Event.objects.get()))["timestamp"]

    assert told.endswith("Z")
    assert abs((datetime.fromisoformat(told) - event.created_at).total_seconds()) < 0.001


def test_text_goes_over_the_wire_as_it_is():
    assert as_json({"name": "Zoë"}) == '{"name":"Zoë"}'.encode()
