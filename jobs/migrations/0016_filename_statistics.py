from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def tell_what_is_common(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """PostgreSQL takes every part of a filename for rare otherwise, and reads all to find what most have."""
    if schema_editor.connection.vendor == "postgresql":
        # As `icontains` asks for it.
        schema_editor.execute(
            "CREATE STATISTICS recording_filename ON (upper(filename::text)) FROM jobs_recording"
        )
        schema_editor.execute("ANALYZE jobs_recording (filename)")


def forget(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP STATISTICS recording_filename")


class Migration(migrations.Migration):
    dependencies = [("jobs", "0015_removal_for_erasure")]

    operations = [migrations.RunPython(tell_what_is_common, forget)]
