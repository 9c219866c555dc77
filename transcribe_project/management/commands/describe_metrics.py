"""Prints docs/metrics.md."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from transcribe_project.metrics.catalogue import catalogue


class Command(BaseCommand):
    help = "Prints docs/metrics.md, which describes every metric there is."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(catalogue(), ending="")
