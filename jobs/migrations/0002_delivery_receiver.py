from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from jobs.models.delivery import receiver_of


def fill(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    deliveries = apps.get_model("jobs", "Delivery").objects.only("url", "receiver")
    for delivery in deliveries.filter(status="pending").iterator():
        delivery.receiver = receiver_of(delivery.url)
        delivery.save(update_fields=["receiver"])


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0001_initial"),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name="delivery",
            name="delivery_leased",
        ),
        migrations.AddField(
            model_name="delivery",
            name="receiver",
            field=models.CharField(
                default="", editable=False, help_text="Its scheme, host and port.", max_length=300
            ),
            preserve_default=False,
        ),
        migrations.RunPython(fill, migrations.RunPython.noop, elidable=True),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("lease_token__isnull", False)),
                fields=["receiver"],
                name="delivery_leased",
            ),
        ),
    ]
