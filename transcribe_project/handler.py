"""Django's ASGI handler, with one change of thread for a whole request.

Django adapts each middleware for itself, and a synchronous one costs a change of thread each way. All of ours
and all of our views are synchronous, so the chain is built synchronous and entered once.
"""

import django
from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest, HttpResponseBase


class OneThreadHandler(ASGIHandler):
    def load_middleware(self, is_async: bool = False) -> None:
        super().load_middleware(is_async=False)

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        return await sync_to_async(self.get_response, thread_sensitive=True)(request)


def get_asgi_application() -> ASGIHandler:
    """The project's, with Django set up."""
    django.setup(set_prefix=False)
    return OneThreadHandler()
