"""URLs below /api/."""

from django.urls import include, path, re_path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from jobs.api.parsers import OffsetParser
from jobs.api.views.audit import AuditViewSet
from jobs.api.views.batches import BATCH_PARSERS, BatchViewSet, EstimateViewSet
from jobs.api.views.erasures import ErasureViewSet
from jobs.api.views.jobs import SUBMISSION_PARSERS, JobViewSet
from jobs.api.views.members import MemberViewSet
from jobs.api.views.projects import KeyViewSet, ProjectViewSet
from jobs.api.views.regions import Nothing, RegionViewSet
from jobs.api.views.uploads import UploadViewSet
from jobs.api.views.usage import UsageViewSet
from jobs.api.views.versions import VersionViewSet
from jobs.api.views.webhooks import (
    DeliveryViewSet,
    EndpointDeliveryViewSet,
    EndpointViewSet,
    WebhookSecretViewSet,
)

_job = "jobs/<uuid:pk>/"
_endpoint = "webhooks/<uuid:pk>/"
_batch = "batches/<uuid:pk>/"

v1 = [
    path(
        "jobs/",
        JobViewSet.as_view({"get": "list", "post": "create"}, parser_classes=SUBMISSION_PARSERS),
        name="jobs",
    ),
    path(
        _job,
        JobViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
        name="job",
    ),
    path(f"{_job}cancel/", JobViewSet.as_view({"post": "cancel"})),
    path(f"{_job}requeue/", JobViewSet.as_view({"post": "requeue"})),
    path(f"{_job}attempts/", JobViewSet.as_view({"get": "attempts"})),
    path(f"{_job}timeline/", JobViewSet.as_view({"get": "timeline"})),
    path(f"{_job}audio/", JobViewSet.as_view({"get": "audio"})),
    path(f"{_job}versions/", VersionViewSet.as_view({"get": "list", "post": "create"})),
    path(f"{_job}transcript.<str:form>", JobViewSet.as_view({"get": "transcript"})),
    path("uploads/", UploadViewSet.as_view({"get": "list", "post": "create"}), name="uploads"),
    path(
        "uploads/<uuid:pk>/",
        UploadViewSet.as_view(
            {"get": "retrieve", "patch": "receive", "delete": "destroy"}, parser_classes=(OffsetParser,)
        ),
    ),
    path("uploads/<uuid:pk>/complete/", UploadViewSet.as_view({"post": "complete"})),
    path(
        "batches/",
        BatchViewSet.as_view({"get": "list", "post": "create"}, parser_classes=BATCH_PARSERS),
    ),
    path(_batch, BatchViewSet.as_view({"get": "retrieve", "delete": "destroy"}), name="batch"),
    path(f"{_batch}seal/", BatchViewSet.as_view({"post": "seal"})),
    path(f"{_batch}cancel/", BatchViewSet.as_view({"post": "cancel"})),
    path(f"{_batch}requeue/", BatchViewSet.as_view({"post": "requeue"})),
    path(f"{_batch}refused/", BatchViewSet.as_view({"get": "refused"})),
    path(f"{_batch}export.zip", BatchViewSet.as_view({"get": "export"}), name="batch-export"),
    path("estimates/", EstimateViewSet.as_view({"post": "create"})),
    path("projects/", ProjectViewSet.as_view({"get": "list", "post": "create"})),
    path(
        "projects/<uuid:pk>/",
        ProjectViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
    ),
    path("projects/<uuid:pk>/members/", MemberViewSet.as_view({"get": "list", "post": "create"})),
    path(
        "projects/<uuid:pk>/members/<str:username>/",
        MemberViewSet.as_view({"patch": "partial_update", "delete": "destroy"}),
    ),
    path("projects/<uuid:pk>/retention/", ProjectViewSet.as_view({"get": "retention"})),
    path("projects/<uuid:pk>/leave/", MemberViewSet.as_view({"post": "leave"})),
    path("keys/", KeyViewSet.as_view({"get": "list", "post": "create"})),
    path(
        "keys/<uuid:pk>/",
        KeyViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
    ),
    path("keys/<uuid:pk>/rotate/", KeyViewSet.as_view({"post": "rotate"})),
    path("webhooks/", EndpointViewSet.as_view({"get": "list", "post": "create"})),
    path(
        _endpoint,
        EndpointViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
    ),
    path(f"{_endpoint}secret/", EndpointViewSet.as_view({"get": "secret"})),
    path(f"{_endpoint}rotate/", EndpointViewSet.as_view({"post": "rotate"})),
    path(f"{_endpoint}test/", EndpointViewSet.as_view({"post": "test"})),
    path(f"{_endpoint}replay/", EndpointViewSet.as_view({"post": "replay"})),
    path("webhooks/<uuid:endpoint>/deliveries/", EndpointDeliveryViewSet.as_view({"get": "list"})),
    path("webhooks/deliveries/", DeliveryViewSet.as_view({"get": "list"})),
    path("webhooks/deliveries/<uuid:pk>/", DeliveryViewSet.as_view({"get": "retrieve"})),
    path("webhooks/deliveries/<uuid:pk>/replay/", DeliveryViewSet.as_view({"post": "replay"})),
    path("webhooks/secret/", WebhookSecretViewSet.as_view({"get": "retrieve"})),
    path("webhooks/secret/rotate/", WebhookSecretViewSet.as_view({"post": "rotate"})),
    path("erasures/", ErasureViewSet.as_view({"get": "list", "post": "create"})),
    path("erasures/<uuid:pk>/", ErasureViewSet.as_view({"get": "retrieve"})),
    path("usage/", UsageViewSet.as_view({"get": "retrieve"}), name="usage"),
    path("usage/export.csv", UsageViewSet.as_view({"get": "export"})),
    path("audit/", AuditViewSet.as_view({"get": "list"})),
    path("regions/", RegionViewSet.as_view({"get": "list"})),
]

urlpatterns = [
    path("v1/", include(v1)),
    path("schema/", SpectacularAPIView.as_view(), name="schema"),
    path("docs/", SpectacularSwaggerSplitView.as_view(url_name="schema")),
    re_path("", Nothing.as_view()),
]
