"""The project's settings, and sabotage among the applications: for processes that are to fail from within."""

import os

# The package reads settings when it is imported, which must not be these, half made.
os.environ["DJANGO_SETTINGS_MODULE"] = "transcribe_project.settings"

from transcribe_project.settings import *  # noqa: F403
from transcribe_project.settings import INSTALLED_APPS

# For the children of this process.
os.environ["DJANGO_SETTINGS_MODULE"] = __name__
INSTALLED_APPS = [*INSTALLED_APPS, "tests.faults.sabotage.Sabotage"]
