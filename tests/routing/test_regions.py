"""Regions as rows: what they are seeded with, and how a process knows them."""

import pytest
from django.db import OperationalError, connection

from routing.choice import Capability, Work
from routing.health import choose_region
from routing.models import RegionRow
from routing.regions import (
    UnknownRegion,
    all_regions,
    names_of_residency,
    region_named,
    region_served_by,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def us_and_eu(regions):
    regions(
        {"name": "us", "weight": 2},
        {"name": "eu", "base_url": "https://eu.example.com", "api_key": "k", "queue": "q"},
    )


def test_without_regions_there_is_one_of_the_settings(settings):
    settings.DEEPGRAM_BASE_URL, settings.DEEPGRAM_API_KEY = "https://example.com", "key"
    settings.REDIS_URL = "redis://example.com/0"

    region = region_named("default")

    assert (region.base_url, region.live_url, region.api_key) == (
        "https://example.com",
        "wss://example.com",
        "key",
    )
    assert (region.queue, region.broker_url) == ("transcription.default", "redis://example.com/0")
    assert (region.concurrency, region.max_attempts) == (settings.WORKER_CONCURRENCY, settings.MAX_ATTEMPTS)


def test_the_setting_seeds_the_table_once(settings):
    settings.REGIONS = [{"name": "eu"}, {"name": "us"}]
    assert list(all_regions()) == ["eu", "us"]
    RegionRow.objects.filter(name="us").update(enabled=False)
    settings.REGIONS = [{"name": "moon"}]

    all_regions.cache_clear()

    assert {name: region.enabled for name, region in all_regions().items()} == {"eu": True, "us": False}


def test_a_process_asks_for_the_table_once_in_a_while(us_and_eu, django_assert_num_queries):
    with django_assert_num_queries(0):
        assert region_served_by("q").name == "eu"


def test_without_the_database_a_process_goes_by_what_it_knew(us_and_eu, monkeypatch):
    def gone():
        raise OperationalError

    monkeypatch.setattr(all_regions, "_ask", gone)
    monkeypatch.setattr(all_regions, "_known", (0.0, all_regions.known))
    gone.__name__ = "gone"

    assert region_named("eu").queue == "q"


def test_a_region_has_its_own_address_key_and_queue(us_and_eu):
    region = region_named("eu")

    assert (region.base_url, region.api_key, region.queue) == ("https://eu.example.com", "k", "q")


@pytest.mark.parametrize(
    ("row", "concurrency", "max_attempts"),
    [
        ({}, 10, 3),
        ({"profile": "enterprise"}, 20, 5),
        ({"profile": "enterprise", "concurrency": 7, "max_attempts": 4}, 7, 4),
    ],
)
def test_the_profile_says_how_hard_a_region_is_worked(regions, row, concurrency, max_attempts):
    region = regions({"name": "eu", **row})["eu"]

    assert (region.concurrency, region.max_attempts) == (concurrency, max_attempts)


def test_keys_and_brokers_are_not_shown_and_not_stored_as_they_are(regions):
    told = repr(regions({"name": "eu", "api_key": "the-key", "broker_url": "redis://:pass@host/0"})["eu"])
    with connection.cursor() as cursor:
        cursor.execute("SELECT api_key, broker_url FROM routing_region")
        stored = " ".join(cursor.fetchone())

    for text in (told, stored):
        assert "the-key" not in text
        assert "pass" not in text


def test_a_key_that_cannot_be_opened_is_replaced_by_no_other(regions, settings):
    settings.DEEPGRAM_API_KEY = "another region's"
    regions({"name": "eu"})
    with connection.cursor() as cursor:
        cursor.execute("UPDATE routing_region SET api_key = 'nonsense'")
    all_regions.cache_clear()

    assert region_named("eu").api_key == ""


def test_residency_names_regions_or_their_labels(regions):
    regions({"name": "paris", "residency": ["eu", "fr"]}, {"name": "us"})

    assert names_of_residency() == ["paris", "us", "eu", "fr"]
    assert choose_region(Work(Capability.ASYNC, residency=["eu"]))[0].name == "paris"


def test_a_pin_to_no_region_is_an_error_that_names_those_there_are(us_and_eu):
    with pytest.raises(UnknownRegion, match="'moon'; there are us, eu"):
        region_named("moon")
