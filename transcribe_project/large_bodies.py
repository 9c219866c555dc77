"""Who may send a large body to pages that are not the API, which asks for a key first by itself."""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from jobs.api.parsers import FORM_BYTES

# They see who asks before they read anything.
ASK_FIRST = ("/api/", "/v1/")


class LargeBodyMiddleware:
    """Refuses what is larger than a form without files, unless staff sends it.

    A form is read to find its CSRF token, before any view can ask who sent it.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not request.path.startswith(ASK_FIRST):
            if "HTTP_TRANSFER_ENCODING" in request.META:
                return _refusal(411, "Send the body with a Content-Length, not in chunks.")
            length = int(request.META.get("CONTENT_LENGTH") or 0)
            if length > settings.MAX_UPLOAD_BYTES + FORM_BYTES:
                return _refusal(413, f"An upload may have {settings.MAX_UPLOAD_BYTES} bytes.")
            if length > FORM_BYTES and not request.user.is_staff:
                return _refusal(403, "Sign in before you upload.")
        return self.get_response(request)


def _refusal(status: int, message: str) -> HttpResponse:
    return HttpResponse(message, status=status, content_type="text/plain")
