import sys
import threading

from django.apps import AppConfig
from django.conf import settings


class TranscribeProjectConfig(AppConfig):
    name = "transcribe_project"

    def ready(self) -> None:
        from transcribe_project import checks, redaction  # noqa: F401 (checks register themselves)

        sys.excepthook = redaction.log_uncaught
        threading.excepthook = redaction.log_uncaught_in_thread
        if settings.OTEL_EXPORTER_OTLP_ENDPOINT:
            from routing import tracing
            from transcribe_project.tracing import Tracer

            tracing.use(Tracer())
