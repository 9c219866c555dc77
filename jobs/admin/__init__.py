"""The Django admin: what staff see of jobs, queues, projects, keys and webhooks, and where they upload."""

from django.contrib import admin

from jobs.admin import (
    audit,
    batches,
    endpoints,
    erasures,
    evaluations,
    jobs,
    keys,
    projects,
    recordings,
    regions,
    usage,
    users,
    webhooks,
    workers,
)

admin.site.index_title = "Dashboard"

__all__ = [
    "audit",
    "batches",
    "endpoints",
    "erasures",
    "evaluations",
    "jobs",
    "keys",
    "projects",
    "recordings",
    "regions",
    "usage",
    "users",
    "webhooks",
    "workers",
]
