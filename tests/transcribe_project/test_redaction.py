"""No secret gets into a log, whoever writes the line."""

import io
import logging
import os
import subprocess
import sys
import time

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from tests.environment import ROOT
from transcribe_project import redaction
from transcribe_project.logs import JSONFormatter, TextFormatter
from transcribe_project.redaction import redact

SECRET = "Zm9yYmlkZGVuLXdvcmRz"


@pytest.fixture
def known(settings):
    """Settings with secrets in them."""
    settings.DEEPGRAM_API_KEY = "deepgram-key-of-no-shape"
    settings.REGIONS = [{"name": "eu", "api_key": "european-key-of-no-shape"}]
    settings.DATABASE_URL = "postgres://user:pass%2Fword-1@database/name"
    settings.REDIS_URL = "redis://:redis-password@redis/0"
    settings.REDIS_CLUSTER_URL = ["redis://:cluster-password@redis-1", "redis://:cluster-password@redis-2"]
    settings.EMAIL_HOST_PASSWORD = "mail-password"
    settings.ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    redaction._known_secrets.cache_clear()
    yield settings
    redaction._known_secrets.cache_clear()


@pytest.mark.parametrize(
    "line",
    [
        f"Authorization: Token {SECRET}",
        f"authorization: Bearer {SECRET}",
        f"{{'authorization': 'Token {SECRET}'}}",
        f"[(b'authorization', b'Token {SECRET}')]",
        f"headers=Headers({{'authorization': '{SECRET}'}})",
        f"Sec-WebSocket-Protocol: token, {SECRET}",
        f"(b'sec-websocket-protocol', b'token, {SECRET}')",
        f"subprotocols: token, {SECRET}",
        f"Cookie: sessionid={SECRET}",
        f"Set-Cookie: sessionid={SECRET}; HttpOnly",
        f"whsec_{SECRET}",
        f"GET /v1/listen?model=nova-3&token={SECRET}&language=en",
        f"cannot fetch https://bucket.example.com/a/b.wav?X-Amz-Signature={SECRET}&X-Amz-Expires=60",
        f"cannot fetch https://example.com/audio?{SECRET}",
        f"redis://:{SECRET}@redis.example.com:6379/0",
        f"postgres://user:{SECRET}@database.example.com/name",
        f"amqps://user:{SECRET}@broker.example.com",
        f"connect(host='x', password='{SECRET}')",
        f'{{"client_secret": "{SECRET}", "x": 1}}',
        f"aws_secret_access_key = {SECRET}",
        f"api_key={SECRET}",
        f"https://{SECRET}@example.com/",
        f"null value violates a constraint\nDETAIL:  Failing row contains (1, {SECRET}, null).",
        f"syntax error\nLINE 1: ...alues (1, '{SECRET}', null)\n               ^",
    ],
)
def test_what_looks_like_a_secret_is_left_out(line):
    assert SECRET not in redact(line)


def test_keys_are_known_by_their_shape_and_ours_keep_their_prefix():
    ours = "Ab3dEf6h." + "x9Yz" * 10 + "abc"

    assert redact(f"key {ours} is revoked") == "key Ab3dEf6h.[redacted] is revoked"
    assert redact(f"key {'0a' * 20} is refused") == "key [redacted] is refused"


def test_the_secrets_of_the_settings_are_known_whatever_they_look_like(known):
    secrets = [
        known.SECRET_KEY,
        "deepgram-key-of-no-shape",
        "european-key-of-no-shape",
        "pass%2Fword-1",
        "pass/word-1",
        "redis-password",
        "cluster-password",
        "mail-password",
        *known.ENCRYPTION_KEYS,
    ]

    for secret in secrets:
        assert secret not in redact(f"something went wrong with <{secret}> here")


@pytest.mark.parametrize(
    "line",
    [
        "Job 01934f3c-7b1e-7c3a-9a43-3f1b5a1c2d3e: provider_rejected (400)",
        "127.0.0.1:8000 cannot be used: Address already in use.",
        "The lease of job 3 is lost.",
        "sha256 " + "0a" * 32,
        "https://api.deepgram.com/v1/listen answered 503",
        "The token was refused, and the password too.",
        "12 tokens: none",
    ],
)
def test_the_rest_is_left_as_it_is(line):
    assert redact(line).replace("[redacted]", "none") == line


@pytest.mark.parametrize(
    "unit", ["a", "a.", "-", "://", "://a:", "token", "secret=", "authorization:", "\\'", "0a"]
)
def test_a_long_line_takes_no_long_time(unit):
    began = time.monotonic()

    redact(unit * (200_000 // len(unit)))

    assert time.monotonic() - began < 5


@given(st.text())
def test_a_line_that_was_redacted_is_redacted(line):
    assert redact(redact(line)) == redact(line)


@pytest.mark.parametrize("formatter", [TextFormatter, JSONFormatter])
def test_a_traceback_is_redacted_with_its_line(formatter, known):
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(formatter())
    logger = logging.Logger("anybody")  # noqa: LOG001 - one that nobody else sees
    logger.addHandler(handler)

    try:
        raise ValueError(f"Authorization: Token {SECRET}") from KeyError("redis-password")
    except ValueError:
        logger.exception("It failed with %s", {"token": SECRET})

    assert "ValueError" in written.getvalue()
    assert SECRET not in written.getvalue()
    assert "redis-password" not in written.getvalue()


@pytest.mark.parametrize("where", ["main", "thread"])
def test_what_nobody_catches_is_redacted_too(where, tmp_path):
    raising = f"def fail(): raise ValueError('token={SECRET}')"
    ending = {"main": "fail()", "thread": "import threading; threading.Thread(target=fail).start()"}[where]

    ended = subprocess.run(
        [sys.executable, "-c", f"import django; django.setup()\n{raising}\n{ending}"],
        cwd=ROOT,
        env=os.environ | {"DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )

    assert "ValueError: token=[redacted]" in ended.stderr
    assert SECRET not in ended.stderr


@pytest.mark.parametrize("name", ["django", "django.server", "django.request", "uvicorn.error", "celery"])
def test_no_logger_writes_past_the_formatter(name, settings):
    logger = logging.getLogger(name)
    while logger.parent:
        assert logger.handlers == []
        assert logger.propagate
        logger = logger.parent

    assert settings.LOGGING["root"]["handlers"] == ["stderr"]
    assert settings.LOGGING["handlers"]["stderr"]["formatter"] in ("json", "text")


def test_the_page_of_an_error_in_development_shows_no_address_with_a_password(settings):
    shown = redaction.ReportFilter().get_safe_settings()

    for name in ("DATABASE_URL", "REDIS_URL", "DATABASES", "REGIONS", "SECRET_KEY", "CHANNEL_LAYERS"):
        assert set(str(shown[name])) == {"*"}, name


@pytest.mark.django_db
def test_a_host_that_is_not_ours_is_one_line(client, settings, caplog):
    response = client.get("/api/v1/jobs/", headers={"Host": "scanner.example"})

    (told,) = [record for record in caplog.records if record.name == "django.security.DisallowedHost"]
    assert response.status_code == 400
    assert "scanner.example" in told.getMessage()
    assert "\n" not in TextFormatter().format(told)
