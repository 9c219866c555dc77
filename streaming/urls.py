"""The WebSockets' URLs."""

from django.urls import path, re_path

from streaming.consumer import listen, no_such_socket

# Django's stubs know views alone.
sockets = [path("v1/listen", listen), re_path("", no_such_socket)]  # type: ignore[arg-type]
