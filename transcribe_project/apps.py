from django.apps import AppConfig


class TranscribeProjectConfig(AppConfig):
    name = "transcribe_project"

    def ready(self) -> None:
        from transcribe_project import checks  # noqa: F401 (registers them)
