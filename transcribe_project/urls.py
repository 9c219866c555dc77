"""URLs of the project."""

from django.contrib import admin
from django.templatetags.static import static
from django.urls import include, path
from django.views.generic import RedirectView

from jobs.api import errors
from transcribe_project.dashboard import news

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    # Asked for by browsers on pages that name no icon: the API's JSON, a download.
    path("favicon.ico", RedirectView.as_view(url=static("jobs/favicon.svg"))),
    path("admin/dashboard/", admin.site.admin_view(news), name="dashboard"),
    path("admin/", admin.site.urls),
    path("", include("streaming.urls")),
    path("api/v1/", include("streaming.api.urls")),
    # Which also answers what nobody has.
    path("api/", include("jobs.api.urls")),
    path("", include("jobs.gateway.urls")),
]

handler400 = errors.bad_request
handler403 = errors.permission_denied
handler404 = errors.page_not_found
handler500 = errors.server_error
