"""The admin's first page: what goes on just now, of jobs and of live sessions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from jobs.admin.dashboard import of_jobs
from streaming.admin import on_air


def dashboard(now: datetime) -> dict[str, Any]:
    return of_jobs(now) | on_air()


def add_dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """django-unfold's DASHBOARD_CALLBACK."""
    return context | dashboard(timezone.now())


def news(request: HttpRequest) -> HttpResponse:
    """What the page asks for while it is open."""
    return render(request, "admin/_dashboard.html", dashboard(timezone.now()))
