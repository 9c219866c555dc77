from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

# jobs.search.words_of
WORDS = "to_tsvector('simple', regexp_replace(left({column}, 150000), '[^[:alnum:]]+', ' ', 'g'))"
INDEXES = {
    "transcript_words": ("jobs_transcript", "text"),
    "recording_words": ("jobs_recording", "filename"),
    "job_url_words": ("jobs_transcriptionjob", "url"),
}


def index_words(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    if schema_editor.connection.vendor == "postgresql":
        for name, (table, column) in INDEXES.items():
            words = WORDS.format(column=column)
            schema_editor.execute(f"CREATE INDEX {name} ON {table} USING gin ({words}) WHERE {column} <> ''")


def forget_words(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    if schema_editor.connection.vendor == "postgresql":
        for name in INDEXES:
            schema_editor.execute(f"DROP INDEX {name}")


class Migration(migrations.Migration):
    dependencies = [("jobs", "0007_waveform")]

    operations = [migrations.RunPython(index_words, forget_words)]
