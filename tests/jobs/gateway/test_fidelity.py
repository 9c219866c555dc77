"""The same requests to the provider itself and through the gateway to it: the answers are the same.

But for ids and times, and what docs/gateway.md says is different.
"""

from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from django.core.cache import cache

from tests.jobs.api.conftest import wav
from tests.sandbox.receiver import Receiver

OTHERS = {"request_id", "access_token", "created", "id"}
WORDS = ("err_msg", "message", "details")


@dataclass(frozen=True)
class Asked:
    """`{server}` is one with the recording at /call.wav. `words`: whether the refusals' words are alike."""

    query: str = ""
    content: bytes | str = wav(4)
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "audio/wav"})
    method: str = "POST"
    path: str = "/v1/listen"
    words: bool = True


JSON = {"content-type": "application/json"}
ALIKE = {
    "nothing asked": Asked(),
    "formatted": Asked("model=nova-3&smart_format=true&utterances=true&diarize=true"),
    "repeated": Asked("model=nova-3&keyterm=a&keyterm=b&search=one&search=two&extra=k:v&replace=a:b"),
    "capitals": Asked("model=nova-3&punctuate=True&paragraphs=TRUE"),
    "channels": Asked("model=nova-3&multichannel=true"),
    "unknown parameters": Asked("model=nova-3&no_such_option=1&interim_results=true&endpointing=10&tier="),
    "no content type": Asked("model=nova-3", headers={}),
    "another content type": Asked("model=nova-3", headers={"content-type": "deepgram/audio+video"}),
    "raw": Asked("model=nova-3&encoding=linear16&sample_rate=8000&channels=2", wav(2)[44:]),
    "by URL": Asked("model=nova-3", '{"url": "{server}/call.wav"}', JSON),
    "no such model": Asked("model=nova-99"),
    "no such language": Asked("model=nova-3&language=english!", words=False),
    "no such combination": Asked("model=base&language=multi", words=False),
    "no boolean": Asked("punctuate=perhaps", words=False),
    "raw without a rate": Asked("encoding=linear16", words=False),
    "no callback": Asked("callback=nonsense", words=False),
    "no audio": Asked("model=nova-3", b"this is no audio"),
    "empty": Asked("model=nova-3", b""),
    "URL as audio": Asked("model=nova-3", '{"url": "{server}/call.wav"}'),
    "no JSON": Asked("model=nova-3", "{", JSON),
    "no URL": Asked("model=nova-3", '{"uri": "{server}/call.wav"}', JSON),
    "nothing at the URL": Asked("model=nova-3", '{"url": "{server}/other.wav"}', JSON, words=False),
    "not the web": Asked("model=nova-3", '{"url": "ftp://example.com/call.wav"}', JSON, words=False),
    "wrong key": Asked(headers={"authorization": "Token invalid"}),
    "no key": Asked(headers={"authorization": ""}),
    "wrong method": Asked(method="DELETE"),
    "nothing there": Asked(path="/v1/nothing"),
    "Flux": Asked(path="/v2/listen"),
    "models": Asked(method="GET", path="/v1/models", content=b"", headers={}),
    "grant": Asked(path="/v1/auth/grant", content="", headers=JSON),
    "grant for a minute": Asked(path="/v1/auth/grant", content='{"ttl_seconds": 60}', headers=JSON),
    "grant for ever": Asked(path="/v1/auth/grant", content='{"ttl_seconds": 1e9}', headers=JSON),
}


def told(response: httpx.Response, *, words: bool) -> dict[str, Any]:
    """What the answers are compared by."""
    body = response.json()
    metadata = body.get("metadata", {})
    assert body.get("request_id", response.headers["dg-request-id"]) == response.headers["dg-request-id"]
    assert metadata.get("request_id", response.headers["dg-request-id"]) == response.headers["dg-request-id"]
    utterances = body.get("results", {}).get("utterances", [])
    for other in (body, metadata, *utterances):
        for name in OTHERS & other.keys():
            other[name] = "another each time"
    return {
        "status": response.status_code,
        "type": response.headers["content-type"],
        "has_error": "dg-error" in response.headers,
        "body": body if words else {name: value for name, value in body.items() if name not in WORDS},
    }


@pytest.mark.parametrize("asked", ALIKE.values(), ids=ALIKE)
def test_the_gateway_answers_as_the_provider_does(client, worker, provider, settings, asked):
    settings.FETCH_ALLOW_PRIVATE = settings.WEBHOOK_ALLOW_PRIVATE = True
    cache.clear()
    with Receiver() as server, httpx.Client(base_url=provider.url, trust_env=False, timeout=60) as direct:
        server.files["/call.wav"] = wav(3)
        content = (
            asked.content.replace("{server}", server.url) if isinstance(asked.content, str) else asked.content
        )
        ask = (asked.method, f"{asked.path}?{asked.query}")
        theirs = direct.request(
            *ask, content=content, headers={"authorization": "Token a-key"} | asked.headers
        )
        ours = client.request(*ask, content=content, headers=asked.headers)

    assert told(ours, words=asked.words) == told(theirs, words=asked.words)


@pytest.mark.parametrize(
    "fault",
    ["status=400", "status=404", "status=413", "status=415", "status=500", "status=503", "status=504"],
)
def test_what_the_provider_answers_in_the_end_is_answered(client, worker, provider, settings, fault):
    settings.RETRY_BASE_SECONDS = 0.05
    provider.set_faults(fault)

    with httpx.Client(base_url=provider.url, trust_env=False) as direct:
        theirs = direct.post("/v1/listen", content=wav(), headers={"authorization": "Token a-key"})
    ours = client.post("/v1/listen", content=wav())

    expected = told(theirs, words=False)
    if "category" in expected["body"]:
        # The one of Deepgram's two shapes is the other here.
        expected["body"] = {"err_code": expected["body"]["category"], "request_id": "another each time"}
    assert told(ours, words=False) == expected
