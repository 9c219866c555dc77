"""The WebSockets' URLs."""

from django.urls import path, re_path

from streaming.consumer import ListenConsumer, NoSuchSocket

sockets = [path("v1/listen", ListenConsumer.as_asgi()), re_path("", NoSuchSocket.as_asgi())]
