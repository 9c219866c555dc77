"""URLs below /api/v1/. Those of the sockets are in streaming/urls.py."""

from django.urls import path

from streaming.api.views import StreamViewSet

_stream = "streams/<uuid:pk>/"

urlpatterns = [
    path("streams/", StreamViewSet.as_view({"get": "list"}), name="streams"),
    path(_stream, StreamViewSet.as_view({"get": "retrieve", "delete": "destroy"}), name="stream"),
    path(f"{_stream}results/", StreamViewSet.as_view({"get": "results"})),
    path(f"{_stream}timeline/", StreamViewSet.as_view({"get": "timeline"})),
    path(f"{_stream}events/", StreamViewSet.as_view({"get": "events"}), name="stream-events"),
    path(f"{_stream}transcript.<str:form>", StreamViewSet.as_view({"get": "transcript"})),
]
