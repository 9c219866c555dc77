import sys
import threading

from django.apps import AppConfig


class TranscribeProjectConfig(AppConfig):
    name = "transcribe_project"

    def ready(self) -> None:
        from transcribe_project import checks, redaction  # noqa: F401 (checks register themselves)

        sys.excepthook = redaction.log_uncaught
        threading.excepthook = redaction.log_uncaught_in_thread
