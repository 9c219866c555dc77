"""What a browser is told, and that it obeys."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from unfold.settings import CONFIG_DEFAULTS

from tests.browser import CHROMIUM, Browser, Page
from transcribe_project.headers import ADMIN, STRICT

LOGIN = reverse("admin:login")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("path", "policy"),
    [
        ("/", STRICT),
        ("/healthz", STRICT),
        ("/api/docs/", STRICT),
        ("/api/v1/jobs/", STRICT),
        ("/nowhere", STRICT),
        ("/static/jobs/favicon.svg", STRICT),
        (LOGIN, ADMIN),
        ("/admin/nowhere/", ADMIN),
    ],
)
def test_every_answer_has_a_policy(path, policy):
    response = Client().get(path)
    response.close()

    assert response["Content-Security-Policy"] == policy
    assert "geolocation=()" in response["Permissions-Policy"]


@pytest.mark.django_db
def test_pages_tell_browsers_to_guess_nothing_and_to_tell_nobody_where_they_come_from():
    response = Client().get(LOGIN)

    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Referrer-Policy"] == "same-origin"
    assert response["Cross-Origin-Opener-Policy"] == "same-origin"
    assert response["X-Frame-Options"] == "DENY"


def test_scripts_come_from_our_own_files_alone():
    for policy in (STRICT, ADMIN):
        [scripts] = [each for each in policy.split("; ") if each.startswith("script-src")]

        assert "unsafe-inline" not in scripts
        assert ":" not in scripts


def test_style_elements_come_from_our_own_files_alone():
    [styles] = [each for each in STRICT.split("; ") if each.startswith("style-src")]

    assert styles == "style-src 'self'"
    assert "style-src-elem 'self'" in ADMIN.split("; ")


def test_the_theme_has_every_colour_of_unfold():
    ours = Path(finders.find("jobs/colours.css")).read_text()

    for name, weights in CONFIG_DEFAULTS["COLORS"].items():
        for weight, value in weights.items():
            assert f"--color-{name}-{weight}: {value};" in ours


def test_an_answer_keeps_a_policy_of_its_own(rf):
    from transcribe_project.headers import PolicyMiddleware

    own = HttpResponse(headers={"Content-Security-Policy": "sandbox"})

    assert PolicyMiddleware(lambda _: own)(rf.get("/"))["Content-Security-Policy"] == "sandbox"


@pytest.fixture
def page(live_server) -> Iterator[Page]:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    with Browser() as browser:
        page = browser.page()
        visit = page.open
        page.open = lambda path: visit(live_server.url + path)
        yield page


@pytest.mark.django_db(transaction=True)
def test_the_documentation_works_under_the_strict_policy(page):
    page.open("/api/docs/")

    for button in (".opblock-summary-control", ".try-out__btn", ".opblock.is-open .execute"):
        page.wait_for(f"document.querySelector('{button}') !== null")
        page.evaluate(f"document.querySelector('{button}').click()")
    answer = page.wait_for(
        "document.querySelector('.live-responses-table tbody .response-col_status')?.textContent"
    )

    assert answer.startswith("401")
    assert [complaint for complaint in page.complaints if "401" not in complaint] == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", ["/api/docs/", LOGIN])
def test_a_script_that_somebody_got_into_a_page_does_not_run(page, path):
    page.open(path)
    assert page.complaints == []

    page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {text: 'window.ran = 1'}))"
    )
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=/x onerror=\"window.ran = 1\">')")
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<style>:root { --got-in: 1 }</style>')")

    page.wait_for("document.querySelector('img[src=\"/x\"]').complete")
    assert page.evaluate("window.ran") is None
    assert page.evaluate("getComputedStyle(document.body).getPropertyValue('--got-in')") == ""
    assert any("Content Security Policy" in complaint for complaint in page.complaints)
