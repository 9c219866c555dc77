from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("streaming", "0006_interim_throttle"),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name="livesession",
            name="session_attended_by",
        ),
    ]
