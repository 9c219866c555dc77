"""The URLs of sockets and pages. Those of the API are in streaming/api/urls.py."""

from django.urls import path, re_path

from streaming import pages
from streaming.consumer import ListenConsumer, NoSuchSocket

sockets = [path("v1/listen", ListenConsumer.as_asgi()), re_path("", NoSuchSocket.as_asgi())]
urlpatterns = [path("live/", pages.live, name="live")]
