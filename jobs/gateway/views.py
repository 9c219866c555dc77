"""`/v1/*` over HTTP: Deepgram's addresses, statuses and shapes, errors included."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from uuid import uuid4

from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from jobs import grants, intake, quotas
from jobs.audio.keeping import keep
from jobs.gateway import answers, bodies, catalogue, query, refusals
from jobs.gateway.authentication import authenticate
from jobs.gateway.waiting import ResultOf
from jobs.models import Scope
from jobs.placing import place
from routing.choice import Capability

ANY = "any"
View = Callable[[HttpRequest], HttpResponseBase]


def deepgrams(method: str) -> Callable[[View], View]:
    """Answer this method, and whatever goes wrong in Deepgram's shape."""

    def decorate(view: View) -> View:
        @csrf_exempt
        @wraps(view)
        def answer(request: HttpRequest) -> HttpResponseBase:
            try:
                if method not in (request.method, ANY):
                    raise refusals.method_not_allowed()
                return view(request)
            except Exception as error:  # noqa: BLE001 (logged where it is judged)
                return _response(answers.refused(refusals.refusal_of(error), uuid4()))

        return answer

    return decorate


@deepgrams("POST")
def listen(request: HttpRequest) -> HttpResponseBase:
    """Transcribe a recording: answered with its result, or at once if that goes to a `callback`."""
    key = authenticate(request)
    asked = query.read(request.META["QUERY_STRING"])
    order = intake.Order(
        project=key.project,
        key=key,
        options=asked.options,
        tags=asked.tags,
        callback_url=asked.callback,
        callback_method=asked.callback_method,
        respond_async=bool(asked.callback),
    )
    # Asked before anything is received.
    intake.check_room(key)
    quotas.check(key.project)
    intake.first_place_for(order)
    url = bodies.url_in(request)
    recording = None if url else keep(key.project, bodies.receive(request), options=asked.options)
    job = intake.submit(order, recording=recording, url=url)
    if asked.callback:
        return _response(answers.accepted(job.pk))
    return ResultOf(job, settings.GATEWAY_WAIT_SECONDS)


@deepgrams("POST")
def grant(request: HttpRequest) -> HttpResponseBase:
    """A token that speaks for the key for `ttl_seconds`, 30 if nothing is said."""
    key = authenticate(request, by_grant=False)
    seconds = _ttl(bodies.json_in(request))
    token = grants.grant(key, seconds)
    return JsonResponse({"access_token": token, "expires_in": seconds}, headers=_with_id())


@deepgrams("GET")
def models(request: HttpRequest) -> HttpResponseBase:
    """The models that may be asked for."""
    key = authenticate(request, Scope.READ, by_grant=False)
    region = place(key.project, Capability.SYNC).region
    # Nobody needs a connection to ask the provider.
    connection.close()
    outdated = request.GET.get("include_outdated", "").lower() == "true"
    listed = catalogue.models(region, include_outdated=outdated)
    return HttpResponse(listed, content_type="application/json", headers=_with_id())


@deepgrams(ANY)
def nothing(request: HttpRequest) -> HttpResponseBase:
    raise refusals.not_found()


def _ttl(body: object) -> float:
    given = {} if body is None else body
    seconds = given.get("ttl_seconds", grants.DEFAULT_TTL_SECONDS) if isinstance(given, dict) else None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise refusals.bad_json()
    if not 0 < seconds <= grants.MAX_TTL_SECONDS:
        raise refusals.bad_json()
    return seconds


def _with_id() -> dict[str, str]:
    return {"dg-request-id": str(uuid4())}


def _response(answer: answers.Answer) -> HttpResponse:
    return HttpResponse(answer.body, status=answer.status, headers=answer.headers)
