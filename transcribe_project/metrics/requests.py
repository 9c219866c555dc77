"""django-prometheus' counting of requests, with labels that no client can make more of."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.http import HttpRequest, HttpResponse
from django_prometheus.middleware import PrometheusAfterMiddleware, PrometheusBeforeMiddleware

from jobs.gateway.held import once_finished


class BeforeMiddleware(PrometheusBeforeMiddleware):  # type: ignore[misc]  # django_prometheus is not typed
    """Around all other middleware but health and metrics themselves."""

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        once_finished(response, partial(super().process_response, request, response))
        return response


class AfterMiddleware(PrometheusAfterMiddleware):  # type: ignore[misc]  # as above
    """Around the view."""

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        once_finished(response, partial(super().process_response, request, response))
        return response

    def label_metric(
        self, metric: Any, request: HttpRequest, response: HttpResponse | None = None, **labels: Any
    ) -> Any:
        if "method" in labels:
            # One of its metrics takes the method as it came, and anybody may send any.
            labels["method"] = self._method(request)
        return super().label_metric(metric, request, response, **labels)
