"""`GET /v1/models`: the models that the provider of a project's region has for recordings and live audio."""

from __future__ import annotations

import orjson
from django.core.cache import cache

from jobs.gateway.refusals import failed_upstream, unavailable
from routing.provider import Call, CallAborted, ProviderError, provider_for
from routing.regions import Region

ASK_SECONDS = 10.0
REMEMBERED_SECONDS = 600


def models(region: Region, *, include_outdated: bool) -> bytes:
    """Deepgram's JSON, without voices, which are not served here. Raises Refused."""
    name = f"models:{region.name}:{include_outdated}"
    known: bytes | None = cache.get(name)
    if known is None:
        known = _asked(region, include_outdated)
        cache.set(name, known, REMEMBERED_SECONDS)
    return known


def _asked(region: Region, include_outdated: bool) -> bytes:
    provider = provider_for(region.endpoint)
    try:
        answer = provider.models(include_outdated=include_outdated, call=Call(ASK_SECONDS))
        return orjson.dumps({"stt": orjson.loads(answer.body)["stt"], "tts": []})
    except (ProviderError, CallAborted):
        raise unavailable() from None
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise failed_upstream("The provider's list of models cannot be read.") from None
