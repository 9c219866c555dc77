"""The page of a live session in the admin, in browsers of those who watch."""

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from streaming import lifecycle
from streaming.lifecycle import Moment
from streaming.models import Happening
from tests.streaming.factories import end, progress, results
from tests.streaming.factories import live as live_session

pytestmark = pytest.mark.django_db(transaction=True)
SAID = "[...document.querySelectorAll('#said p')].map((each) => each.textContent).join('|')"


def test_what_is_said_appears_for_all_who_watch_without_being_asked_for(browser, live, project):
    session = live_session(project)
    lifecycle.store([progress(session, results(1, "Before."))])
    client, url = Client(), f"http://127.0.0.1:{live.port}"
    client.force_login(User.objects.create_user("staff", is_staff=True))
    pages = [browser.page(), browser.page(width=390, height=844, dark=True)]
    for page in pages:
        page.set_cookie(url, "sessionid", client.cookies["sessionid"].value)
        page.open(url + reverse("admin:streaming_livesession_change", args=(session.pk,)))
        page.wait_for(f"{SAID} === 'Before.'")

    lost = Moment(Happening.CONNECTION_LOST, {"code": 1011})
    lifecycle.store([progress(session, results(3, "After a pause.", 60.0), moments=[lost])])
    late = results(4, "In between.", 30.0, late=True)
    lifecycle.store([progress(session, late, results(5, "And on.", 61.0))])

    for page in pages:
        page.wait_for(f"{SAID} === 'Before.|In between.|After a pause. And on.'")
        page.wait_for("document.getElementById('session-history').textContent.includes('code 1011')")

    end(session)
    for page in pages:
        page.wait_for("document.getElementById('session-state').textContent.includes('ended')")
        assert page.complaints == []
        page.close()
