"""Who asks, as Deepgram's SDKs say it: `Authorization: Token KEY`, or `Bearer GRANT` (jobs.grants).

Schemes are written in any case. The session of our own pages opens nothing here.
"""

from __future__ import annotations

from django.http import HttpRequest

from jobs import grants
from jobs.api.authentication import admit
from jobs.gateway.refusals import insufficient_permissions, invalid_credentials
from jobs.models import ApiKey, Scope


def authenticate(request: HttpRequest, scope: Scope = Scope.WRITE, *, by_grant: bool = True) -> ApiKey:
    """The key, itself or by a grant of it, if it may do this; the request is counted.

    Raises Refused, and what jobs.api.authentication.admit does.
    """
    scheme, _, credential = request.headers.get("Authorization", "").strip().partition(" ")
    match scheme.lower():
        case "token":
            key = ApiKey.objects.authenticate(credential.strip())
        case "bearer":
            key = grants.key_behind(credential.strip())
            if key is not None and not by_grant:
                raise insufficient_permissions()
        case _:
            key = None
    if key is None:
        raise invalid_credentials()
    admit(request, key)
    if not key.covers(scope):
        raise insufficient_permissions()
    return key
