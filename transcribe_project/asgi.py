"""The ASGI application of web and live."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "transcribe_project.settings")

from channels.routing import ProtocolTypeRouter

from transcribe_project.handler import get_asgi_application

application = ProtocolTypeRouter({"http": get_asgi_application()})
