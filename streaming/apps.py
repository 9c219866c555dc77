from django.apps import AppConfig


class StreamingConfig(AppConfig):
    name = "streaming"
    verbose_name = "Live audio"

    def ready(self) -> None:
        from jobs import companions
        from streaming import aftercare

        companions.join(aftercare)
