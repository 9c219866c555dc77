"""The front proxy before several servers: one that dies is left, and what it was not sent goes to another."""

import httpx
import pytest
from websockets.sync.client import connect

from jobs.models import ApiKey, TranscriptionJob
from tests.jobs.rows import make_project
from tests.sandbox.sounds import wav
from tests.services.nginx import Nginx

ASKED = 20


@pytest.fixture
def authorization(transactional_db):
    _, key = ApiKey.objects.issue(make_project(), "k")
    return {"authorization": f"Token {key}"}


@pytest.mark.postgresql
@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_server_that_is_gone_costs_no_request_and_no_live_session(stack, authorization, how):
    listen = "/v1/listen?model=nova-3&encoding=linear16&sample_rate=16000"
    with (
        stack.web() as first,
        stack.web() as second,
        Nginx(f"127.0.0.1:{first.port}", f"127.0.0.1:{second.port}") as nginx,
        httpx.Client(base_url=nginx.url, headers=authorization, trust_env=False, timeout=30) as client,
    ):
        getattr(first, how)()
        found = [client.get("/api/v1/jobs/").status_code for _ in range(ASKED)]
        audio = {"content": wav(1.0), "headers": {"content-type": "audio/wav"}}
        taken = [client.post("/api/v1/jobs/?mode=async", **audio).status_code for _ in range(ASKED)]
        for _ in range(4):
            url = nginx.url.replace("http", "ws") + listen
            with connect(url, additional_headers=authorization, open_timeout=30) as socket:
                socket.send('{"type":"CloseStream"}')
                last = list(socket)[-1]

    assert found == [200] * ASKED
    assert taken == [202] * ASKED
    assert TranscriptionJob.objects.count() == ASKED
    assert '"Metadata"' in last
