"""URLs below /v1/ and /v2/, which is not served: Deepgram's 404 for all else."""

from django.urls import path, re_path

from jobs.gateway import views

urlpatterns = [
    path("v1/listen", views.listen),
    path("v1/auth/grant", views.grant),
    path("v1/models", views.models),
    re_path("^v[12]/", views.nothing),
]
