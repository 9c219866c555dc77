from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

# Entries are kept for 365 days: jobs.models.audit.KEPT_FOR.
POSTGRESQL = """
CREATE FUNCTION jobs_audit_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND OLD.at < now() - interval '365 days' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'the audit log is append-only';
END $$;
CREATE TRIGGER jobs_audit_append_only BEFORE UPDATE OR DELETE ON jobs_auditentry
FOR EACH ROW EXECUTE FUNCTION jobs_audit_append_only();
"""
# Deleting is left to SQLite, whose only way to empty a table (flush) it is. A later migration that alters the
# table makes it anew there, and has to make the trigger again.
SQLITE = """
CREATE TRIGGER jobs_audit_append_only BEFORE UPDATE ON jobs_auditentry
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END
"""


def protect(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    schema_editor.execute(POSTGRESQL if schema_editor.connection.vendor == "postgresql" else SQLITE, None)


def expose(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    schema_editor.execute(
        "DROP TRIGGER jobs_audit_append_only"
        + (
            " ON jobs_auditentry; DROP FUNCTION jobs_audit_append_only()"
            if schema_editor.connection.vendor == "postgresql"
            else ""
        ),
        None,
    )


class Migration(migrations.Migration):
    dependencies = [("jobs", "0001_initial")]

    operations = [migrations.RunPython(protect, expose)]
