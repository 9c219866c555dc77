from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0013_erasures"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddIndex(
            model_name="transcriptionjob",
            index=models.Index(
                fields=["-id", "status", "mode", "region", "priority", "project", "created_at"],
                name="job_listed",
            ),
        ),
    ]
