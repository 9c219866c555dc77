"""What a line of the log has in it, in JSON and in text, and that the suite's own logs are looked through."""

import io
import json
import logging

import pytest
from django.test import Client
from structlog.contextvars import bound_contextvars

from jobs.models import Attempt
from tests import logged
from tests.jobs.rows import make_job
from transcribe_project.logs import JSONFormatter, TextFormatter

KEY = "Ab3dEf6h." + "x9Yz" * 10 + "abc"


def written(formatter, *message, **ids):
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logger = logging.Logger("jobs.anything")  # noqa: LOG001 - one that nobody else sees
    logger.addHandler(handler)
    with bound_contextvars(**ids):
        try:
            raise ValueError(f"in two\nlines, with {KEY}")
        except ValueError:
            logger.exception(*message)
    return stream.getvalue()


def test_a_line_of_json_has_the_ids_that_are_known():
    line = written(JSONFormatter(), "It failed with %s", f'"{KEY}"', job_id="1", provider_request_id="")

    told = json.loads(line)
    assert line.count("\n") == 1
    assert told.keys() == {"timestamp", "level", "logger", "message", "job_id", "exception"}
    assert (told["level"], told["logger"], told["job_id"]) == ("error", "jobs.anything", "1")
    assert told["message"] == 'It failed with "Ab3dEf6h.[redacted]"'
    assert told["exception"].endswith("lines, with Ab3dEf6h.[redacted]")


def test_a_line_of_text_ends_with_them():
    first, *rest = written(TextFormatter(), "It failed", job_id="1", session_id="").splitlines()

    assert first.endswith(" ERROR jobs.anything It failed job_id=1")
    assert rest[-1] == "lines, with Ab3dEf6h.[redacted]"


@pytest.fixture
def lines(caplog):
    """Those of a test, as JSON has them."""
    told = []

    class Keep(logging.Handler):
        def emit(self, record):
            told.append(json.loads(JSONFormatter().format(record)))

    keep = Keep()
    logging.root.addHandler(keep)
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.INFO, "transcribe_project.requests")
    yield told
    logging.root.removeHandler(keep)


@pytest.mark.django_db
def test_a_request_ends_with_a_line_of_its_own_without_its_query(lines):
    response = Client().get("/api/v1/jobs/?q=what+was+said", headers={"X-Request-ID": "of-the-proxy.1"})

    (line,) = [line for line in lines if line["logger"] == "transcribe_project.requests"]
    assert response.headers["X-Request-ID"] == line["request_id"] == "of-the-proxy.1"
    assert (line["message"], line["status"]) == ("GET /api/v1/jobs/", 401)
    assert line["duration_ms"] >= 0


@pytest.mark.django_db
@pytest.mark.parametrize("given", ["", "with a space", "x" * 65, "né"])
def test_a_request_id_that_is_none_is_replaced(given, lines):
    response = Client().get("/nowhere/%0Aforged", headers={"X-Request-ID": given})

    line = next(line for line in lines if line["logger"] == "transcribe_project.requests")
    assert response.headers["X-Request-ID"] == line["request_id"] != given
    assert line["message"] == "GET /nowhere/%0Aforged"


@pytest.mark.django_db(transaction=True)
def test_what_became_of_an_attempt_is_a_line_with_its_ids(lines):
    from jobs import lifecycle
    from jobs.lifecycle import CallReport

    job = make_job("running")
    lifecycle.fail(job, CallReport(request_id="of-the-provider", error_code="provider_rejected"))

    attempt = Attempt.objects.get()
    line = next(line for line in lines if line["logger"] == "jobs.lifecycle")
    assert line["message"] == f"Attempt in {attempt.region}: failed (provider_rejected)"
    ids = {name: value for name, value in line.items() if name.endswith("_id")}
    assert ids == {
        "job_id": str(job.pk),
        "attempt_id": str(attempt.lease_token),
        "provider_request_id": "of-the-provider",
    }


# The suite's own


@pytest.mark.parametrize(
    "text",
    [
        f"key {KEY} is refused",
        "signed with whsec_c2VjcmV0LXNlY3JldA==",
        "cannot fetch https://bucket.example.com/a.wav?X-Amz-Signature=0a1b2c3d4e",
        "GET /v1/listen?token=0a1b2c3d4e",
        "Authorization: Token 0a1b2c3d4e5f6a7b8c9d0e",
        "heard: Baba babe bebi, bibo bobu",
        "It was the best of times",
    ],
)
def test_what_is_never_to_be_logged_is_found(text):
    logged.look_at(f"a line\n{text}\nanother")

    with pytest.raises(AssertionError, match="test_what_is_never_to_be_logged_is_found"):
        logged.check()


@pytest.mark.parametrize(
    "text",
    ["Ab3dEf6h.[redacted]", "whsec_[redacted]", "/v1/listen?token=[redacted]", "The token is no good to me."],
)
def test_the_rest_may_be(text):
    logged.look_at(text)
    logged.check()
