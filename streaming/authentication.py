"""Who opens a live socket: a program with a key, a browser with a grant, or a person at our own pages.

As Deepgram has it: `Authorization: Token KEY` or `Bearer GRANT`, or, since browsers cannot set headers on a
WebSocket, the subprotocols `token, KEY` or `bearer, GRANT`, of which the first is echoed. Schemes are written
in any case by SDKs. Nothing is ever read from the query, which others log.

WebSockets are outside CORS: a browser opens one for any page, cookies along. So an Origin that is not ours
must be allowed by the key, and the session counts only where the Origin is there and ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import auth
from django.contrib.auth.models import User
from django.http import HttpRequest, parse_cookie
from django.http.request import split_domain_port, validate_host

from jobs import grants
from jobs.models import ApiKey, Project, Role, Scope, TooManyRequests
from streaming.refusals import (
    insufficient_permissions,
    invalid_credentials,
    origin_not_allowed,
    too_many_requests,
)

SCHEMES = ("token", "bearer")


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose session it is, and the subprotocol to echo."""

    project: Project
    key: ApiKey | None = None
    user: User | None = None
    subprotocol: str | None = None


def authenticate(scope: Any, project: str | None = None) -> Caller:
    """Raises Refused: 401, 403 or 429. `project`: for which a person wants to speak, if not for their own."""
    headers = _headers(scope)
    offered = scope.get("subprotocols") or []
    scheme, _, credential = headers.get(b"authorization", "").strip().partition(" ")
    subprotocol = None
    if not scheme and len(offered) >= 2:
        scheme, credential, *_ = offered
        subprotocol = scheme
    if scheme.lower() in SCHEMES:
        key = _key(scheme.lower(), credential.strip())
        check_origin(scope, key)
        _count(key)
        return Caller(key.project, key=key, subprotocol=subprotocol)
    if scheme:
        raise invalid_credentials()
    user = _person(headers, scope)
    return Caller(_project_of(user, project), user=user)


def offered_scheme(scope: Any) -> str | None:
    """The subprotocol to echo where no key is asked for: browsers that offer some and get none give up."""
    return next((each for each in scope.get("subprotocols") or [] if each.lower() in SCHEMES), None)


def _key(scheme: str, credential: str) -> ApiKey:
    key = ApiKey.objects.authenticate(credential) if scheme == "token" else grants.key_behind(credential)
    if key is None:
        raise invalid_credentials()
    if not key.covers(Scope.WRITE):
        raise insufficient_permissions()
    return key


def check_origin(scope: Any, key: ApiKey | None) -> None:
    """Raises Refused if a browser says that a page opens the socket for which it is not meant."""
    headers = _headers(scope)
    origin = headers.get(b"origin")
    allowed = key.allowed_origins if key else []
    if origin is None or origin in (*_ours(headers, scope), *allowed, *settings.CORS_ALLOWED_ORIGINS):
        return
    raise origin_not_allowed()


def _count(key: ApiKey) -> None:
    try:
        key.use()
    except TooManyRequests as error:
        raise too_many_requests(error.wait) from None


def _person(headers: dict[bytes, str], scope: Any) -> User:
    cookie = parse_cookie(headers.get(b"cookie", "")).get(settings.SESSION_COOKIE_NAME)
    if cookie is None:
        raise invalid_credentials()
    if headers.get(b"origin") not in _ours(headers, scope):
        raise origin_not_allowed()
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(cookie)
    user = auth.get_user(request)
    if not isinstance(user, User):
        raise invalid_credentials()
    return user


def _project_of(user: User, named: str | None) -> Project:
    if not named:
        return Project.objects.personal(user)
    try:
        project = Project.objects.visible_to(user).filter(pk=UUID(named)).first()
    except ValueError:
        project = None
    if project is None or not project.allows(user, Role.UPLOADER):
        raise insufficient_permissions()
    return project


def _headers(scope: Any) -> dict[bytes, str]:
    return {name: value.decode("latin-1") for name, value in scope["headers"]}


def _ours(headers: dict[bytes, str], scope: Any) -> tuple[str, str]:
    """The origins of our own pages. A Host that is not ours would make any page one of them."""
    scheme = "https" if scope["scheme"] == "wss" else "http"
    host = headers.get(b"host", "")
    is_ours = validate_host(split_domain_port(host)[0], settings.ALLOWED_HOSTS)
    return settings.PUBLIC_URL, f"{scheme}://{host}" if is_ours else settings.PUBLIC_URL
