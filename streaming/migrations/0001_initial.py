import django.db.models.deletion
import django.db.models.functions.datetime
import django.utils.timezone
import jobs.ids
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("jobs", "0001_initial"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="LiveSession",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=jobs.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "options",
                    models.JSONField(default=dict, help_text="Deepgram's parameters, as they were allowed."),
                ),
                ("tags", models.JSONField(default=list)),
                ("resumable", models.BooleanField(default=False)),
                (
                    "record",
                    models.BooleanField(
                        default=False, help_text="The audio is kept, and transcribed once more."
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("connecting", "Connecting"),
                            ("live", "Live"),
                            ("interrupted", "Interrupted"),
                            ("ended", "Ended"),
                        ],
                        default="connecting",
                        max_length=11,
                    ),
                ),
                (
                    "epoch",
                    models.PositiveIntegerField(default=1, help_text="1, and one more with each resume."),
                ),
                ("token_hash", models.CharField(editable=False, max_length=64, null=True, unique=True)),
                (
                    "relay",
                    models.CharField(
                        help_text="The process that serves it, or served it last.", max_length=120
                    ),
                ),
                ("lease_until", models.DateTimeField(null=True)),
                ("region", models.CharField(blank=True, max_length=50)),
                (
                    "request_id",
                    models.CharField(blank=True, help_text="As its results name it.", max_length=100),
                ),
                (
                    "acked_bytes",
                    models.BigIntegerField(default=0, help_text="Of the client's: final and stored."),
                ),
                ("acked_seconds", models.FloatField(default=0.0, help_text="The same, in seconds of audio.")),
                ("prelude", models.BinaryField(default=b"", help_text="The header of audio in a container.")),
                (
                    "last_seq",
                    models.BigIntegerField(default=0, help_text="Of the last result that is stored."),
                ),
                ("duration", models.FloatField(default=0.0, help_text="seconds of audio")),
                (
                    "connections",
                    models.PositiveIntegerField(
                        default=0, help_text="To the provider; the last one's number."
                    ),
                ),
                (
                    "reconnects",
                    models.PositiveIntegerField(default=0, help_text="Of those, how many replaced another."),
                ),
                (
                    "latency",
                    models.JSONField(default=dict, help_text="p50_ms, p95_ms, p99_ms and how many results."),
                ),
                (
                    "client_latency",
                    models.JSONField(default=dict, help_text="The same, as the browser saw it."),
                ),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                (
                    "connected_at",
                    models.DateTimeField(help_text="When the provider was first reached.", null=True),
                ),
                ("interrupted_at", models.DateTimeField(null=True)),
                ("ended_at", models.DateTimeField(null=True)),
                (
                    "reason",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("finished", "The client ended it and has had everything."),
                            ("client_gone", "The client vanished and did not come back."),
                            ("refused", "The provider refused what was asked for."),
                            ("unavailable", "The provider could not be reached for too long."),
                            ("bad_audio", "The provider cannot decode the audio."),
                            ("too_slow", "The client did not take what it was sent."),
                            ("drained", "The server was stopped."),
                            ("lost", "The process that served it died, and it was not resumable."),
                            ("deleted", "It was deleted, or its project was."),
                        ],
                        max_length=12,
                    ),
                ),
                ("error_code", models.CharField(blank=True, max_length=60)),
                ("error_message", models.TextField(blank=True)),
                (
                    "recorded_at",
                    models.DateTimeField(help_text="When its recording was made, or given up.", null=True),
                ),
                (
                    "created_by",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "event",
                    models.OneToOneField(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="live_session",
                        to="jobs.event",
                    ),
                ),
                (
                    "job",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="live_sessions",
                        to="jobs.transcriptionjob",
                    ),
                ),
                (
                    "key",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="live_sessions",
                        to="jobs.apikey",
                    ),
                ),
                (
                    "project",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="live_sessions",
                        to="jobs.project",
                    ),
                ),
                (
                    "recording",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="live_sessions",
                        to="jobs.recording",
                    ),
                ),
            ],
            options={
                "ordering": ("-id",),
            },
        ),
        migrations.CreateModel(
            name="Hole",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=jobs.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("start", models.FloatField(help_text="seconds")),
                ("end", models.FloatField(help_text="seconds")),
                (
                    "heard_from",
                    models.FloatField(
                        help_text="Where its audio begins, in seconds; it goes on after the end."
                    ),
                ),
                ("size", models.PositiveIntegerField(help_text="bytes of audio")),
                ("attempts", models.PositiveIntegerField(default=0)),
                ("run_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("results", models.JSONField(null=True)),
                ("settled_at", models.DateTimeField(null=True)),
                (
                    "session",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="holes",
                        to="streaming.livesession",
                    ),
                ),
            ],
            options={
                "ordering": ("start",),
            },
        ),
        migrations.CreateModel(
            name="FinalResult",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=jobs.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("seq", models.BigIntegerField()),
                ("channel", models.PositiveSmallIntegerField(default=0)),
                ("start", models.FloatField(help_text="seconds")),
                ("end", models.FloatField(help_text="seconds")),
                ("text", models.TextField(blank=True)),
                ("speech_final", models.BooleanField(default=False)),
                (
                    "late",
                    models.BooleanField(
                        default=False, help_text="It fills a hole that the live connection left."
                    ),
                ),
                (
                    "connection",
                    models.PositiveIntegerField(
                        default=1, help_text="To the provider: speaker numbers restart with each."
                    ),
                ),
                ("raw", models.TextField()),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "session",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="finals",
                        to="streaming.livesession",
                    ),
                ),
            ],
            options={
                "ordering": ("seq",),
            },
        ),
        migrations.CreateModel(
            name="AudioPart",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=jobs.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("epoch", models.PositiveIntegerField()),
                ("offset", models.BigIntegerField()),
                ("size", models.PositiveIntegerField()),
                (
                    "session",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="parts",
                        to="streaming.livesession",
                    ),
                ),
            ],
            options={
                "ordering": ("epoch", "offset"),
            },
        ),
        migrations.CreateModel(
            name="TimelineEntry",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=jobs.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "type",
                    models.CharField(
                        choices=[
                            ("connected", "Connected"),
                            ("connection_lost", "Connection Lost"),
                            ("interrupted", "Interrupted"),
                            ("resumed", "Resumed"),
                            ("gap", "Gap"),
                            ("not_recorded", "Not Recorded"),
                        ],
                        max_length=20,
                    ),
                ),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
                ("details", models.JSONField(default=dict)),
                (
                    "session",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="timeline",
                        to="streaming.livesession",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "timeline entries",
                "ordering": ("at",),
            },
        ),
        migrations.AddIndex(
            model_name="livesession",
            index=models.Index(
                condition=models.Q(("state", "ended"), _negated=True),
                fields=["lease_until"],
                name="session_leased",
            ),
        ),
        migrations.AddIndex(
            model_name="livesession",
            index=models.Index(
                condition=models.Q(("state__in", ("connecting", "live"))),
                fields=["relay"],
                name="session_attended_by",
            ),
        ),
        migrations.AddIndex(
            model_name="livesession",
            index=models.Index(
                condition=models.Q(("record", True), ("recorded_at", None)),
                fields=["id"],
                name="session_to_record",
            ),
        ),
        migrations.AddIndex(
            model_name="livesession",
            index=models.Index(
                condition=models.Q(("state", "ended"), _negated=True),
                fields=["key"],
                name="session_open_of_key",
            ),
        ),
        migrations.AddIndex(
            model_name="livesession",
            index=models.Index(fields=["project", "-id"], name="session_of_project"),
        ),
        migrations.AddIndex(
            model_name="livesession",
            index=models.Index(fields=["key", "-id"], name="session_of_key"),
        ),
        migrations.AddIndex(
            model_name="livesession",
            index=models.Index(fields=["state", "-id"], name="session_by_state"),
        ),
        migrations.AddConstraint(
            model_name="livesession",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["connecting", "live", "interrupted", "ended"])),
                name="session_state_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="livesession",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("ended_at__isnull", False),
                        ("lease_until", None),
                        ("reason__gt", ""),
                        ("state", "ended"),
                    ),
                    models.Q(
                        models.Q(("state", "ended"), _negated=True),
                        ("ended_at", None),
                        ("lease_until__isnull", False),
                        ("reason", ""),
                    ),
                    _connector="OR",
                ),
                name="session_is_leased_until_it_ended",
            ),
        ),
        migrations.AddConstraint(
            model_name="livesession",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("resumable", True), models.Q(("state", "interrupted"), _negated=True), _connector="OR"
                ),
                name="session_waits_if_resumable",
            ),
        ),
        migrations.AddIndex(
            model_name="hole",
            index=models.Index(condition=models.Q(("settled_at", None)), fields=["run_at"], name="hole_due"),
        ),
        migrations.AddConstraint(
            model_name="finalresult",
            constraint=models.UniqueConstraint(fields=("session", "seq"), name="final_result_once"),
        ),
        migrations.AddConstraint(
            model_name="audiopart",
            constraint=models.UniqueConstraint(fields=("session", "epoch", "offset"), name="audio_part_once"),
        ),
    ]
