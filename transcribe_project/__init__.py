"""The Django project: settings, entry points and what spans the applications."""

import sys

from django.core.exceptions import ImproperlyConfigured

try:
    from transcribe_project.celery import app as celery_app
except ImproperlyConfigured as error:
    # The settings are read here first, by whatever program it is: a line tells more than its traceback.
    if "--traceback" in sys.argv:
        raise
    sys.exit(f"ImproperlyConfigured: {error}")

__all__ = ["celery_app"]
