"""Deepgram's SDKs in browsers: as free as at Deepgram, for the pages that the key allows."""

import httpx
import pytest

from jobs.models import ApiKey
from tests.jobs.api.conftest import wav
from tests.jobs.gateway.test_listen import LISTEN, WAV, refusal

PAGE = "https://app.example"
SENT_BY_SDK = "authorization,content-type,x-deepgram-session-id,x-fern-language,x-fern-sdk-name"


@pytest.fixture
def page(gateway, project):
    """Asks with a key that allows the page."""
    text = ApiKey.objects.issue(project, "page", allowed_origins=[PAGE])[1]
    with httpx.Client(
        base_url=gateway.http_url, headers={"Authorization": f"Token {text}"}, timeout=60, trust_env=False
    ) as client:
        yield client


def test_a_preflight_allows_whatever_an_sdk_sends(page):
    asked = {
        "Origin": PAGE,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": SENT_BY_SDK,
    }
    response = page.options("/v1/listen", headers=asked)

    assert (response.status_code, response.headers["Access-Control-Allow-Origin"]) == (204, PAGE)
    assert response.headers["Access-Control-Allow-Headers"] == SENT_BY_SDK


def test_a_page_that_the_key_allows_may_read_the_result_and_its_ids(page):
    response = page.post(LISTEN, content=wav(), headers={"Origin": PAGE, **WAV})

    assert (response.status_code, response.headers["Access-Control-Allow-Origin"]) == (200, PAGE)
    exposed = response.headers["Access-Control-Expose-Headers"].split(", ")
    assert {"dg-request-id", "dg-error", "Transcription-Job"} <= set(exposed)


def test_a_page_that_it_does_not_allow_is_refused(page):
    response = page.post(LISTEN, content=wav(), headers={"Origin": "https://other.example", **WAV})

    assert refusal(response) == (403, "ORIGIN_NOT_ALLOWED")
    assert "Access-Control-Allow-Origin" not in response.headers
