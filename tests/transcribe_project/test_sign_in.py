"""Signing in, and failing to."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.urls import reverse

from tests.services.process import free_port
from transcribe_project import sign_in

LOGIN = reverse("admin:login")
WRONG = "wrong"
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nobody_failed_yet(monkeypatch):
    monkeypatch.setattr("transcribe_project.cache._Client._down_until", 0.0)
    # No pause is over before a slow machine has tried again.
    monkeypatch.setattr(sign_in, "SHORTEST_PAUSE_SECONDS", sign_in.LONGEST_PAUSE_SECONDS)
    cache.clear()
    for name in ("ann", "ben"):
        User.objects.create_user(name, password="right", is_staff=True)


def attempt(username="ann", *, password=WRONG, address="192.0.2.1"):
    """Whether it was let in, refused, or told to wait."""
    form = {"username": username, "password": password}
    response = Client(REMOTE_ADDR=address).post(LOGIN, form)
    if response.status_code == 302:
        return "in"
    return "wait" if "Too many attempts" in response.content.decode() else "refused"


def test_who_opened_the_page_itself_is_led_to_the_dashboard():
    response = Client().post(LOGIN, {"username": "ann", "password": "right"})

    assert response["Location"] == reverse("admin:index")


def test_who_keeps_failing_has_to_wait_even_with_the_right_password():
    tried = [attempt() for _ in range(7)]

    # One that comes after the free ones begins a pause.
    assert tried == ["refused"] * 6 + ["wait"]
    assert attempt(password="right") == "wait"


def test_the_pause_ends_and_the_right_password_forgets_the_wrong_ones(monkeypatch):
    monkeypatch.setattr(sign_in, "LONGEST_PAUSE_SECONDS", 0)
    for _ in range(8):
        attempt()

    assert attempt(password="right") == "in"
    monkeypatch.undo()
    assert [attempt() for _ in range(5)] == ["refused"] * 5


def test_nobody_is_locked_out_by_somebody_elsewhere():
    for _ in range(30):
        attempt(address="198.51.100.7")

    assert attempt(password="right") == "in"


def test_one_password_cannot_be_tried_on_everybody_from_one_address():
    tried = [attempt(username=f"user-{number}") for number in range(22)]

    assert tried == ["refused"] * 21 + ["wait"]
    assert attempt(username="ben", password="right", address="192.0.2.2") == "in"


@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_no_more_get_through():
    def attempt_in_thread(_):
        try:
            return attempt()
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        tried = list(pool.map(attempt_in_thread, range(24)))

    assert tried.count("refused") == 6


def test_without_redis_each_process_counts_by_itself(settings):
    settings.CACHES = {
        "default": {
            "BACKEND": "transcribe_project.cache.Cache",
            "LOCATION": f"redis://127.0.0.1:{free_port()}/0",
        }
    }
    cache.clear()

    assert attempt(password="right") == "in"
    assert [attempt() for _ in range(7)] == ["refused"] * 6 + ["wait"]


def test_redis_counts_for_all_processes(settings, redis_url):
    settings.CACHES = {"default": {"BACKEND": "transcribe_project.cache.Cache", "LOCATION": redis_url}}

    assert [attempt() for _ in range(7)] == ["refused"] * 6 + ["wait"]
