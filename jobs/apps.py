from django.apps import AppConfig


class JobsConfig(AppConfig):
    name = "jobs"
    verbose_name = "Transcription"

    def ready(self) -> None:
        from jobs import signins

        signins.connect()
