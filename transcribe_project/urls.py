"""URLs of the project."""

from django.contrib import admin
from django.urls import include, path

from transcribe_project import health

urlpatterns = [
    path("healthz", health.alive),
    path("readyz", health.ready),
    path("admin/", admin.site.urls),
    path("api/", include("jobs.api.urls")),
]
