import pytest

from routing.regions import UnknownRegion, all_regions, choose_region, region_named


@pytest.fixture
def regions(settings):
    """Makes REGIONS what the test says."""

    def make(*described):
        settings.REGIONS = list(described)
        all_regions.cache_clear()

    yield make
    all_regions.cache_clear()


@pytest.fixture
def us_and_eu(regions):
    regions(
        {"name": "us"}, {"name": "eu", "base_url": "https://eu.example.com", "api_key": "k", "queue": "q"}
    )


def test_without_regions_there_is_one_of_the_deepgram_settings(regions, settings):
    settings.DEEPGRAM_BASE_URL, settings.DEEPGRAM_API_KEY = "https://example.com", "key"
    regions()

    region = region_named("default")

    assert (region.base_url, region.api_key) == ("https://example.com", "key")
    assert (region.queue, region.max_attempts) == ("transcription.default", settings.MAX_ATTEMPTS)


def test_a_region_has_its_own_address_key_and_queue(us_and_eu):
    region = region_named("eu")

    assert (region.base_url, region.api_key, region.queue) == ("https://eu.example.com", "k", "q")


def test_a_key_is_not_shown(us_and_eu):
    assert "api_key" not in repr(region_named("eu"))


@pytest.mark.parametrize(
    ("pinned", "residency", "chosen"),
    [
        ("", [], "us"),
        ("", ["eu"], "eu"),
        ("", ["eu", "us"], "us"),
        ("", ["moon"], None),
        ("eu", [], "eu"),
        ("eu", ["eu"], "eu"),
        ("us", ["eu"], None),
    ],
)
def test_the_first_region_that_pin_and_residency_allow(us_and_eu, pinned, residency, chosen):
    region = choose_region(pinned, residency)

    assert (region and region.name) == chosen


def test_a_pin_to_no_region_is_an_error_that_names_those_there_are(us_and_eu):
    with pytest.raises(UnknownRegion, match="'moon'; there are us, eu"):
        choose_region("moon", [])
