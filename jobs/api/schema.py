"""What drf-spectacular cannot see by itself: how keys are sent, and how every error looks."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import OpenApiResponse
from rest_framework import serializers


class KeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "jobs.api.authentication.KeyAuthentication"
    name = "key"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "apiKey", "in": "header", "name": "Authorization", "description": "`Token KEY`"}


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


def errors(*statuses: int) -> dict[int, OpenApiResponse]:
    """Responses of `extend_schema` for these statuses."""
    return {status: OpenApiResponse(ErrorSerializer, ERRORS[status]) for status in statuses}


ERRORS = {
    400: "validation_error, invalid_options, parse_error and others: something is wrong with what was sent.",
    401: "not_authenticated: the key is missing, unknown, expired or revoked.",
    403: "permission_denied: neither the key's scopes nor the role allow it.",
    404: "not_found: there is none, or it is another project's.",
    409: "invalid_transition: the job is not in a status that allows it.",
    411: "length_required: the body has no Content-Length.",
    413: "too_large: the body is larger than is accepted.",
    415: "unsupported_media_type, unsupported_media, corrupt_media, media_too_long: it is no audio we read.",
    416: "range_not_satisfiable: the file has no such range.",
    503: "service_unavailable: try again after the seconds in Retry-After.",
}
