"""The page of regions: added, changed, switched off; keys written and never shown."""

import pytest
from django.urls import reverse

from jobs.models import AuditEntry
from routing.breaker import breaker_of
from routing.choice import Capability
from routing.coordination import store
from routing.health import SINCE
from routing.models import RegionRow
from routing.regions import all_regions, region_named
from tests.jobs.rows import make_job

LIST = reverse("admin:routing_regionrow_changelist")
FIELDS = {
    "name": "eu",
    "enabled": "on",
    "base_url": "https://api.eu.deepgram.com",
    "api_key": "the-european-key",
    "queue": "transcription.eu",
    "weight": "1",
    "residency": "gdpr\neurope",
    "profile": "enterprise",
}


@pytest.fixture
def eu(root_client):
    root_client.post(reverse("admin:routing_regionrow_add"), FIELDS)
    return RegionRow.objects.get(name="eu")


def change(client, **fields):
    page = reverse("admin:routing_regionrow_change", args=("eu",))
    kept = {name: value for name, value in FIELDS.items() if name not in ("name", "queue", "api_key")}
    return client.post(page, kept | fields, follow=True)


def test_a_region_is_added_and_used_at_once(eu):
    region = region_named("eu")

    assert (region.base_url, region.api_key) == ("https://api.eu.deepgram.com", "the-european-key")
    assert (region.residency, region.concurrency) == ({"gdpr", "europe"}, 20)
    assert AuditEntry.objects.filter(action="region.added", object_id="eu").exists()


def test_a_key_is_written_and_never_shown(eu, root_client):
    page = root_client.get(reverse("admin:routing_regionrow_change", args=("eu",)))

    assert "the-european-key" not in page.content.decode()
    assert "the-european-key" not in str(AuditEntry.objects.values_list("details", flat=True))


def test_an_empty_key_keeps_the_one_there_is_and_another_replaces_it(eu, root_client):
    change(root_client, weight="3")
    assert (region_named("eu").api_key, region_named("eu").weight) == ("the-european-key", 3)

    change(root_client, api_key="another-key")
    assert region_named("eu").api_key == "another-key"


def test_a_region_is_switched_off(eu, root_client):
    change(root_client, enabled="")

    assert not region_named("eu").enabled
    assert root_client.get(LIST).status_code == 200


def test_its_page_and_those_of_its_jobs_say_what_it_cannot_do_and_since_when(eu, root_client):
    breaker_of("eu").open(60)
    store().note("eu", f"{SINCE}{Capability.ASYNC}", "2025-01-02T03:04:05+00:00", 60)
    job = make_job(region="eu", queue="transcription.eu", pinned=True)

    region = root_client.get(reverse("admin:routing_regionrow_change", args=("eu",))).content.decode()
    page = root_client.get(reverse("admin:jobs_transcriptionjob_change", args=(job.pk,))).content.decode()

    assert "it is left alone for a while, since 2025-01-02 03:04:05 UTC" in region
    assert f"without a region.</strong> Since {job.created_at:%Y-%m-%d %H:%M:%S} UTC." in page


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("base_url", "api.deepgram.com"),
        ("live_url", "https://x"),
        ("concurrency", "0"),
        ("name", "with space"),
    ],
)
def test_what_cannot_be_is_refused_beside_its_field(root_client, field, value):
    page = root_client.post(reverse("admin:routing_regionrow_add"), FIELDS | {field: value})

    assert field in page.context["adminform"].form.errors


def test_a_region_with_open_jobs_is_not_removed(eu, root_client):
    remove = reverse("admin:routing_regionrow_delete", args=("eu",))
    job = make_job(region="eu", queue="transcription.eu")

    assert root_client.post(remove, {"post": "yes"}).status_code == 403
    job.cancel()
    root_client.post(remove, {"post": "yes"})

    assert "eu" not in all_regions()


def test_staff_without_permission_see_regions_and_change_nothing(eu, staff_client):
    assert staff_client.get(LIST).status_code == 200
    assert change(staff_client, enabled="").status_code == 403
