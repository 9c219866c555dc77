from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def forget_what_was_heard(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    apps.get_model("streaming", "Hole").objects.filter(settled_at__isnull=False).update(results=None)


class Migration(migrations.Migration):
    dependencies = [("streaming", "0004_policy")]

    operations = [migrations.RunPython(forget_what_was_heard, migrations.RunPython.noop)]
