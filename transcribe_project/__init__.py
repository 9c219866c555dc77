"""The Django project: settings, entry points and what spans the applications."""

from transcribe_project.celery import app as celery_app

__all__ = ["celery_app"]
