#!/usr/bin/env python
"""Django's command line for this project."""

import os
import sys

# The other commands answer a person, and say themselves what they do.
SERVERS = {"beat", "runserver", "runstack", "run_isolated"}


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "transcribe_project.settings")
    if SERVERS.isdisjoint(sys.argv[1:2]):
        os.environ.setdefault("LOG_LEVEL", "WARNING")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
