from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("streaming", "0005_settled_holes"),
    ]

    operations = [
        migrations.AddField(
            model_name="livesession",
            name="interim_throttle",
            field=models.FloatField(
                db_default=0.0,
                default=0.0,
                help_text="Seconds between interim results of a channel, at the least.",
            ),
        ),
    ]
