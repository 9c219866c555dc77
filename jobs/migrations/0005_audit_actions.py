from django.db import migrations, models

import jobs.models.audit


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0004_corrections"),
    ]

    operations = [
        migrations.AlterField(
            model_name="auditentry",
            name="action",
            field=models.CharField(choices=jobs.models.audit.actions, max_length=40),
        ),
    ]
