"""What drf-spectacular cannot see: how keys are sent, what every error looks like, what may be empty."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from rest_framework import serializers

ERRORS = {
    400: "Something is wrong with what was sent: validation_error, invalid_options, parse_error and others.",
    401: "not_authenticated: the key is missing, unknown, expired or revoked.",
    403: "permission_denied: neither the key's scopes nor the role allow it.",
    404: "not_found: there is none, or it is another project's.",
    408: "body_timed_out: the rest of the body did not come in time.",
    409: "invalid_transition, key_not_usable and others: it is not in a state that allows it.",
    411: "length_required: the body has no Content-Length.",
    412: "tus_version: only Tus-Resumable 1.0.0 is spoken.",
    413: "too_large: the body is larger than is accepted.",
    415: "unsupported_media_type, unsupported_media, corrupt_media and others: it is no audio we read.",
    416: "range_not_satisfiable: the file has no such range.",
    429: (
        "rate_limited, too_many_open_jobs, quota_exceeded: a limit of the key or the project is reached; "
        "Retry-After says when to try again."
    ),
    503: "service_unavailable: try again after the seconds in Retry-After.",
    507: "insufficient_storage: there is no room left for what is sent.",
}


class KeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "jobs.api.authentication.KeyAuthentication"
    name = "key"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "apiKey", "in": "header", "name": "Authorization", "description": "`Token KEY`"}


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "jobs.api.authentication.OwnPagesAuthentication"
    name = "cookieAuth"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "apiKey", "in": "cookie", "name": "sessionid", "description": "Our own pages'."}


class ErrorBodySerializer(serializers.Serializer[Any]):
    code = serializers.CharField(help_text="Stable.")
    message = serializers.CharField(help_text="For people.")
    details = serializers.DictField(
        child=serializers.ListField(child=serializers.CharField()),
        allow_null=True,
        help_text="Messages by field or option.",
    )


class ErrorSerializer(serializers.Serializer[Any]):
    error = ErrorBodySerializer()


class Schema(AutoSchema):
    """Adds to each operation how it may be refused; a view's `refuses` names what is special to an action."""

    def get_operation(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        operation: dict[str, Any] | None = super().get_operation(*args, **kwargs)
        if operation is None:
            return None
        error = {"application/json": {"schema": self.resolve_serializer(ErrorSerializer, "response").ref}}
        for status in self._refusals():
            described = {"description": ERRORS[status], "content": error}
            operation["responses"].setdefault(str(status), described)
        for parameter in operation.get("parameters", ()):
            # As if it had not been given: a form sends what was left alone as well.
            if parameter["in"] == "query":
                parameter["allowEmptyValue"] = True
        return operation

    def _refusals(self) -> list[int]:
        view: Any = self.view
        special = view.refuses.get(view.action, ())
        asked = [400] if self.method in ("POST", "PATCH") or view.action in view.lists else []
        named = [404] if "{" in self.path else []
        return sorted({401, 403, 429, 503, *asked, *named, *special})
