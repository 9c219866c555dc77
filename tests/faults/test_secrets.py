"""S6: secrets that go through the whole service are found in none of its logs, pages, messages and tables.

What is looked for where: every canary in the logs of all processes (at LOG_LEVEL=DEBUG), in error pages and
in Redis; all but transcript and metadata, which are there to be read, in the admin's pages; of those, all but
the URLs, which are called later, in every table.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import pytest
import redis
from django.conf import global_settings, settings
from django.contrib.auth.models import User
from django.db import connection
from django.urls import reverse

from jobs.models import ApiKey, Delivery, Project, Recording, TranscriptionJob
from tests.conftest import VENDOR
from tests.faults.harness import Stack
from tests.sandbox.sounds import wav

PASSWORD = "canary-password-of-the-superuser"
DATABASE_PASSWORD = "canary-database-password"
PROVIDER_KEY = "canary-provider-key"
ENCRYPTION_KEY = "Y2FuYXJ5LWVuY3J5cHRpb24ta2V5LW9mLTMyLWJ5dGU="
SIGNATURE = "canary-signature-of-a-signed-url"
CALLBACK_TOKEN = "canary-token-of-a-callback"
SPOKEN = "canarywalrus"
METADATA = "canary-metadata"


@dataclass
class Canaries:
    """Secrets by name; `key` is the API key and `webhook` signs what is sent to callbacks."""

    key: str
    webhook: str

    @property
    def never_stored(self) -> dict[str, str]:
        return {
            "API key": self.key,
            "its secret part": self.key.partition(".")[2],
            "webhook secret": self.webhook,
            "provider key": PROVIDER_KEY,
            "database password": DATABASE_PASSWORD,
            "encryption key": ENCRYPTION_KEY,
            "secret key": settings.SECRET_KEY,
            "password": PASSWORD,
        }

    @property
    def never_shown(self) -> dict[str, str]:
        return self.never_stored | {"signature": SIGNATURE, "callback token": CALLBACK_TOKEN}

    @property
    def never_logged(self) -> dict[str, str]:
        return self.never_shown | {"transcript": SPOKEN, "metadata": METADATA}


def found_in(text: str, canaries: dict[str, str]) -> list[str]:
    return [name for name, canary in canaries.items() if canary in text]


def tables() -> Iterator[tuple[str, str]]:
    """All rows of each table, as text."""
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")  # noqa: S608
            yield table, "\n".join(map(repr, cursor.fetchall()))


def messages(url: str) -> str:
    """Everything in Redis, whatever its type."""
    read = {"list": lambda key: store.lrange(key, 0, -1), "set": lambda key: store.smembers(key)}
    read |= {"hash": lambda key: store.hgetall(key), "zset": lambda key: store.zrange(key, 0, -1)}
    with redis.Redis.from_url(url) as store:
        rest = {key: store.type(key).decode() for key in store.scan_iter()}
        return repr([(key, read.get(kind, store.get)(key)) for key, kind in rest.items()])


@contextmanager
def outside_of_storage(name: str) -> Iterator[None]:
    """Whoever opens the newest recording fails as nobody foresaw, and says with which name."""
    recordings = Recording.objects.filter(pk=Recording.objects.latest("pk").pk)
    stored = recordings.get().file.name
    recordings.update(file=f"../{name}")
    yield
    recordings.update(file=stored)


@contextmanager
def missing(table: str) -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO away")
        yield
        cursor.execute(f"ALTER TABLE away RENAME TO {table}")


def with_password(url: str) -> str:
    """The server of the tests lets everybody in, whatever password they bring."""
    return url if VENDOR == "sqlite" else url.replace("@", f":{DATABASE_PASSWORD}@", 1)


def log_in(client: httpx.Client, password: str) -> httpx.Response:
    login = reverse("admin:login")
    client.get(login)
    form = {"username": "root", "password": password, "csrfmiddlewaretoken": client.cookies["csrftoken"]}
    return client.post(f"{login}?next=/admin/", data=form)


def submit(client: httpx.Client, key: str, **fields: str) -> None:
    asked = {"mode": "async", "metadata": {"note": METADATA}} | fields
    headers = {"authorization": f"Token {key}"}
    if "url" in asked:
        answer = client.post("/api/v1/jobs/", json=asked, headers=headers)
    else:
        form = asked | {"metadata": json.dumps(asked["metadata"])}
        answer = client.post("/api/v1/jobs/", data=form, files={"file": wav(1.0)}, headers=headers)
    assert answer.status_code in (201, 202), answer.text


@pytest.mark.postgresql
@pytest.mark.timeout(180)
def test_s6_secrets_that_go_through_the_service_stay_where_they_belong(stack: Stack, tell, settings) -> None:
    # Those of the process that is signed in to.
    settings.PASSWORD_HASHERS = global_settings.PASSWORD_HASHERS
    User.objects.create_superuser("root", "", PASSWORD)
    project = Project.objects.create(name="p")
    key, text = ApiKey.objects.issue(project, "k")
    canaries = Canaries(text, project.webhook_secret)
    stack.provider.set_transcript(f"Nobody told the {SPOKEN}.")
    stack.database_url = with_password(stack.database_url)
    callback = f"{stack.provider.url}/nowhere?token={CALLBACK_TOKEN}"
    signed = f"{stack.provider.url}/audio.wav?X-Amz-Signature={SIGNATURE}"
    environment = {
        "DEEPGRAM_API_KEY": PROVIDER_KEY,
        "ENCRYPTION_KEYS": ENCRYPTION_KEY,
        "FETCH_ALLOW_PRIVATE": "1",
        "LOG_LEVEL": "DEBUG",
    }
    pages: dict[str, str] = {}

    with stack.web(**environment) as web, httpx.Client(base_url=web.url, timeout=30) as client:
        submit(client, text, callback_url=callback)
        submit(client, text, callback_url=callback, mode="sync")
        submit(client, text, url=signed, callback_url=callback)
        queued = messages(stack.redis_url)
        refused = httpx.get(f"{web.url}/api/v1/jobs/", headers={"authorization": f"Token {text}x"})
        pages["refused"] = refused.text
        pages["wrong parameter"] = httpx.get(f"{web.url}/api/v1/jobs/", params={"token": text}).text
        with stack.workers(1, concurrency=2, **environment) as supervisor:
            stack.provider.set_faults({"fault": "status=400", "first": 1})
            submit(client, text, callback_url=callback)
            supervisor.wait_until(lambda: not TranscriptionJob.objects.open().exists(), 60)
            supervisor.wait_until(lambda: not Delivery.objects.filter(attempts=0).exists(), 60)
            logs = supervisor.tell_logs()
        submit(client, text, callback_url=callback)
        with outside_of_storage(text), stack.workers(1, concurrency=2, **environment) as supervisor:
            failed_inside = TranscriptionJob.objects.filter(error_code="internal_error")
            supervisor.wait_until(failed_inside.exists, 60)
            logs += supervisor.tell_logs()
        queued += messages(stack.redis_url)
        pages["wrong password"] = log_in(client, PASSWORD + "x").text
        assert log_in(client, PASSWORD).status_code == 302
        admin = {
            name: client.get(path).text
            for name, path in {
                "dashboard": reverse("admin:index"),
                "jobs": reverse("admin:jobs_transcriptionjob_changelist"),
                "deliveries": reverse("admin:jobs_delivery_changelist"),
                "keys": reverse("admin:jobs_apikey_changelist"),
                "key": reverse("admin:jobs_apikey_change", args=(key.pk,)),
                "project": reverse("admin:jobs_project_change", args=(project.pk,)),
                **{
                    f"job {job.pk}": reverse("admin:jobs_transcriptionjob_change", args=(job.pk,))
                    for job in TranscriptionJob.objects.all()
                },
                **{
                    f"delivery {delivery.pk}": reverse("admin:jobs_delivery_change", args=(delivery.pk,))
                    for delivery in Delivery.objects.all()
                },
            }.items()
        }
        with missing("jobs_recording"):
            as_key = {"authorization": f"Token {text}"}
            failing = httpx.get(f"{web.url}/api/v1/jobs/", headers=as_key)
            failing_page = client.get(reverse("admin:jobs_recording_changelist"), params={"q": PASSWORD})
        pages["500 of the API"], pages["500 of the admin"] = failing.text, failing_page.text
        logs += web.output()

    assert (refused.status_code, failing_page.status_code) == (401, 500)
    # SQLite calls a table that is not there a database that cannot be used.
    assert failing.status_code == {"postgresql": 500, "sqlite": 503}[VENDOR]
    assert "Traceback" in logs
    assert "[redacted]" in logs
    assert found_in(logs, canaries.never_logged) == []
    assert found_in(queued, canaries.never_logged) == []
    for name, page in pages.items():
        assert found_in(page, canaries.never_logged) == [], name
    for name, page in admin.items():
        assert found_in(page, canaries.never_shown) == [], name
    stored = dict(tables())
    for name, rows in stored.items():
        assert found_in(rows, canaries.never_stored) == [], name
    # The search does find what is there.
    assert SPOKEN in stored["jobs_transcript"]
    assert any(SPOKEN in page for page in admin.values())
    assert SIGNATURE in stored["jobs_transcriptionjob"]
    tell(
        "S6",
        canaries=len(canaries.never_logged),
        log_lines=logs.count("\n"),
        pages=len(pages | admin),
        tables=len(stored),
        found=0,
    )
