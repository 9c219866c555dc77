"""The ASGI application of web and live."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "transcribe_project.settings")

from channels.routing import ProtocolTypeRouter, URLRouter

from transcribe_project.handler import get_asgi_application

http = get_asgi_application()

from streaming.urls import sockets  # noqa: E402 (models are imported once Django is set up)

application = ProtocolTypeRouter({"http": http, "websocket": URLRouter(sockets)})
