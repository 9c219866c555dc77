import django.core.validators
import django.db.models.deletion
import django.db.models.functions.datetime
import django.utils.timezone
import routing.encryption
import jobs.ids
import jobs.models.signing
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Chore",
            fields=[
                ("name", models.CharField(max_length=30, primary_key=True, serialize=False)),
                ("run_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
        ),
        migrations.CreateModel(
            name="Delivery",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=jobs.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("url", models.URLField(max_length=2000)),
                (
                    "receiver",
                    models.CharField(editable=False, help_text="Its scheme, host and port.", max_length=300),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[("pending", "Pending"), ("delivered", "Delivered"), ("failed", "Failed")],
                        default="pending",
                        max_length=10,
                    ),
                ),
                ("attempts", models.PositiveIntegerField(default=0)),
                ("attempts_before_replay", models.PositiveIntegerField(default=0)),
                ("run_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("lease_token", models.UUIDField(editable=False, null=True)),
                ("lease_until", models.DateTimeField(editable=False, null=True)),
                ("delivered_at", models.DateTimeField(null=True)),
            ],
            options={
                "verbose_name_plural": "deliveries",
            },
        ),
        migrations.CreateModel(
            name="WorkerProcess",
            fields=[
                ("name", models.CharField(max_length=120, primary_key=True, serialize=False)),
                ("queues", models.JSONField(default=list)),
                ("concurrency", models.PositiveIntegerField()),
                ("running", models.PositiveIntegerField(default=0)),
                ("started_at", models.DateTimeField(auto_now_add=True)),
                ("seen_at", models.DateTimeField()),
                (
                    "clock_at",
                    models.DateTimeField(help_text="What its own clock showed at seen_at.", null=True),
                ),
            ],
            options={
                "verbose_name": "worker",
            },
        ),
        migrations.CreateModel(
            name="ApiKey",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=jobs.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("name", models.CharField(max_length=50)),
                ("prefix", models.CharField(editable=False, max_length=8, unique=True)),
                ("hash", models.CharField(editable=False, max_length=150)),
                ("scopes", models.JSONField(blank=True, default=list, help_text="None named means all.")),
                (
                    "allowed_origins",
                    models.JSONField(
                        blank=True,
                        default=list,
                        help_text="Origins whose pages may use this key in a browser.",
                    ),
                ),
                (
                    "requests_per_minute",
                    models.PositiveIntegerField(
                        blank=True,
                        help_text="None given: KEY_REQUESTS_PER_MINUTE holds.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1)],
                    ),
                ),
                (
                    "max_open_jobs",
                    models.PositiveIntegerField(
                        blank=True,
                        help_text="None given: KEY_OPEN_JOBS holds.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1)],
                    ),
                ),
                ("spent_until", models.DateTimeField(editable=False, null=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("expires_at", models.DateTimeField(blank=True, null=True)),
                ("last_used_at", models.DateTimeField(editable=False, null=True)),
                ("revoked_at", models.DateTimeField(editable=False, null=True)),
                (
                    "created_by",
                    models.ForeignKey(
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "API key",
                "ordering": ("-created_at",),
            },
        ),
        migrations.CreateModel(
            name="Batch",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=jobs.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("name", models.CharField(blank=True, max_length=200)),
                ("metadata", models.JSONField(blank=True, default=dict)),
                (
                    "callback_url",
                    models.URLField(blank=True, help_text="Told when it is finished.", max_length=2000),
                ),
                ("options", models.JSONField(default=dict)),
                (
                    "mode",
                    models.CharField(
                        choices=[("auto", "Auto"), ("sync", "Sync"), ("async", "Async")],
                        default="auto",
                        max_length=5,
                    ),
                ),
                ("region", models.CharField(blank=True, max_length=50)),
                (
                    "priority",
                    models.PositiveSmallIntegerField(
                        choices=[(0, "high"), (1, "normal"), (2, "low")], default=1
                    ),
                ),
                (
                    "run",
                    models.PositiveIntegerField(
                        default=1, help_text="1, and one more each time it is opened again."
                    ),
                ),
                (
                    "move",
                    models.CharField(
                        blank=True,
                        choices=[("cancel", "Cancel"), ("requeue", "Requeue"), ("delete", "Delete")],
                        max_length=10,
                    ),
                ),
                ("moved_at", models.DateTimeField(help_text="When the move was asked for.", null=True)),
                ("moved_to", models.UUIDField(help_text="The last job that it has come to.", null=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("sealed_at", models.DateTimeField(null=True)),
                ("finished_at", models.DateTimeField(null=True)),
                (
                    "created_by",
                    models.ForeignKey(
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "key",
                    models.ForeignKey(
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        to="jobs.apikey",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "batches",
                "ordering": ("-id",),
            },
        ),
        migrations.CreateModel(
            name="DeliveryAttempt",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("number", models.PositiveIntegerField()),
                ("started_at", models.DateTimeField()),
                ("duration", models.FloatField(help_text="seconds")),
                ("status_code", models.PositiveSmallIntegerField(null=True)),
                ("error", models.CharField(blank=True, max_length=200)),
                (
                    "address",
                    models.CharField(blank=True, help_text="The IP address that answered.", max_length=45),
                ),
                (
                    "response",
                    models.TextField(blank=True, help_text="The first 4 kB of what the receiver answered."),
                ),
                (
                    "delivery",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="log", to="jobs.delivery"
                    ),
                ),
            ],
            options={
                "ordering": ("number",),
            },
        ),
        migrations.CreateModel(
            name="Event",
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
                            ("job.completed", "Job Completed"),
                            ("job.failed", "Job Failed"),
                            ("job.cancelled", "Job Cancelled"),
                            ("batch.completed", "Batch Completed"),
                            ("stream.ended", "Stream Ended"),
                            ("test", "Test"),
                        ],
                        max_length=30,
                    ),
                ),
                ("sequence", models.PositiveIntegerField(default=1)),
                ("data", models.JSONField(default=dict)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "batch",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="events",
                        to="jobs.batch",
                    ),
                ),
            ],
            options={
                "ordering": ("-id",),
            },
        ),
        migrations.AddField(
            model_name="delivery",
            name="event",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="deliveries", to="jobs.event"
            ),
        ),
        migrations.CreateModel(
            name="Membership",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "role",
                    models.CharField(
                        choices=[
                            ("reader", "Reader"),
                            ("uploader", "Uploader"),
                            ("reviewer", "Reviewer"),
                            ("operator", "Operator"),
                        ],
                        default="uploader",
                        max_length=10,
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, to=settings.AUTH_USER_MODEL
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Project",
            fields=[
                (
                    "webhook_secret",
                    routing.encryption.EncryptedTextField(
                        default=jobs.models.signing.new_webhook_secret, editable=False
                    ),
                ),
                (
                    "previous_webhook_secret",
                    routing.encryption.EncryptedTextField(default="", editable=False),
                ),
                ("previous_webhook_secret_until", models.DateTimeField(editable=False, null=True)),
                (
                    "id",
                    models.UUIDField(
                        default=jobs.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("name", models.CharField(max_length=100)),
                (
                    "residency",
                    models.JSONField(
                        blank=True,
                        default=list,
                        help_text="Regions that its audio may go to; none named means any.",
                    ),
                ),
                (
                    "improve_provider_models",
                    models.BooleanField(
                        default=False,
                        help_text="Let the provider keep the audio to train its models (mip_opt_out=false).",
                    ),
                ),
                (
                    "audio_days",
                    models.PositiveSmallIntegerField(
                        blank=True,
                        help_text="How long audio is kept after it came; empty: always.",
                        null=True,
                    ),
                ),
                (
                    "transcript_days",
                    models.PositiveSmallIntegerField(
                        blank=True,
                        help_text="How long transcripts, answers and events are kept after their job ended; empty: always.",
                        null=True,
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "deleted_at",
                    models.DateTimeField(
                        editable=False, help_text="It is being erased since then.", null=True
                    ),
                ),
                (
                    "members",
                    models.ManyToManyField(
                        related_name="projects", through="jobs.Membership", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "personal_to",
                    models.OneToOneField(
                        blank=True,
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ("name",),
            },
        ),
        migrations.AddField(
            model_name="membership",
            name="project",
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="jobs.project"),
        ),
        migrations.AddField(
            model_name="event",
            name="project",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="events",
                to="jobs.project",
            ),
        ),
        migrations.AddField(
            model_name="batch",
            name="project",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="batches", to="jobs.project"
            ),
        ),
        migrations.CreateModel(
            name="AuditEntry",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=jobs.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "action",
                    models.CharField(
                        choices=[
                            ("session.signed_in", "Signed In"),
                            ("session.sign_in_failed", "Sign In Failed"),
                            ("key.issued", "Key Issued"),
                            ("key.changed", "Key Changed"),
                            ("key.rotated", "Key Rotated"),
                            ("key.revoked", "Key Revoked"),
                            ("secret.revealed", "Secret Revealed"),
                            ("secret.rotated", "Secret Rotated"),
                            ("audio.fetched", "Audio Fetched"),
                            ("transcript.viewed", "Transcript Viewed"),
                            ("transcript.exported", "Transcript Exported"),
                            ("job.requeued", "Job Requeued"),
                            ("job.changed", "Job Changed"),
                            ("job.cancelled", "Job Cancelled"),
                            ("job.deleted", "Job Deleted"),
                            ("batch.requeued", "Batch Requeued"),
                            ("batch.cancelled", "Batch Cancelled"),
                            ("batch.deleted", "Batch Deleted"),
                            ("stream.deleted", "Stream Deleted"),
                            ("member.added", "Member Added"),
                            ("member.changed", "Member Changed"),
                            ("member.removed", "Member Removed"),
                            ("user.created", "User Created"),
                            ("project.created", "Project Created"),
                            ("project.changed", "Project Changed"),
                            ("project.deleted", "Project Deleted"),
                            ("project.erased", "Project Erased"),
                            ("webhook.added", "Webhook Added"),
                            ("webhook.changed", "Webhook Changed"),
                            ("webhook.disabled", "Webhook Disabled"),
                            ("webhook.deleted", "Webhook Deleted"),
                            ("data.purged", "Data Purged"),
                        ],
                        max_length=40,
                    ),
                ),
                (
                    "result",
                    models.CharField(
                        choices=[("done", "Done"), ("refused", "Refused")], default="done", max_length=10
                    ),
                ),
                (
                    "actor",
                    models.CharField(
                        blank=True, help_text="Their name then; empty: the service.", max_length=200
                    ),
                ),
                ("object_type", models.CharField(blank=True, max_length=30)),
                ("object_id", models.CharField(blank=True, max_length=50)),
                ("object_name", models.CharField(blank=True, max_length=200)),
                ("ip", models.GenericIPAddressField(null=True)),
                ("details", models.JSONField(default=dict)),
                (
                    "key",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="jobs.apikey",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "project",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="jobs.project",
                    ),
                ),
            ],
            options={
                "verbose_name": "audit entry",
                "verbose_name_plural": "audit entries",
                "ordering": ("-id",),
            },
        ),
        migrations.AddField(
            model_name="apikey",
            name="project",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="keys", to="jobs.project"
            ),
        ),
        migrations.CreateModel(
            name="Recording",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=jobs.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("filename", models.CharField(blank=True, max_length=255)),
                ("file", models.FileField(editable=False, max_length=200, upload_to="")),
                ("sha256", models.CharField(editable=False, max_length=64)),
                ("size", models.BigIntegerField(editable=False, help_text="bytes")),
                ("media_type", models.CharField(editable=False, max_length=100)),
                ("codec", models.CharField(editable=False, max_length=50)),
                ("duration", models.FloatField(editable=False, help_text="seconds", null=True)),
                ("channels", models.PositiveSmallIntegerField(editable=False, null=True)),
                ("sample_rate", models.PositiveIntegerField(editable=False, help_text="Hz", null=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "audio_deleted_at",
                    models.DateTimeField(
                        editable=False, help_text="Its project keeps audio for a time only.", null=True
                    ),
                ),
                (
                    "project",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="recordings",
                        to="jobs.project",
                    ),
                ),
            ],
            options={
                "ordering": ("-id",),
            },
        ),
        migrations.CreateModel(
            name="RefusedItem",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(help_text="Of the file, or the URL.", max_length=300)),
                ("code", models.CharField(max_length=60)),
                ("message", models.TextField()),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "batch",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="refused", to="jobs.batch"
                    ),
                ),
            ],
            options={
                "ordering": ("id",),
            },
        ),
        migrations.CreateModel(
            name="Removal",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=200)),
                ("due_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "indexes": [models.Index(fields=["due_at"], name="removal_due")],
            },
        ),
        migrations.CreateModel(
            name="TranscriptionJob",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=jobs.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("url", models.URLField(blank=True, max_length=2000)),
                ("options", models.JSONField(default=dict)),
                ("metadata", models.JSONField(blank=True, default=dict)),
                ("tags", models.JSONField(blank=True, default=list)),
                ("callback_url", models.URLField(blank=True, max_length=2000)),
                (
                    "callback_method",
                    models.CharField(
                        blank=True,
                        default="",
                        help_text="Of a callback as Deepgram makes it; empty: the callback is a webhook.",
                        max_length=4,
                    ),
                ),
                (
                    "mode",
                    models.CharField(
                        choices=[("sync", "Sync"), ("async", "Async")], default="async", max_length=5
                    ),
                ),
                ("receipt", models.JSONField(default=dict, help_text="How mode and region were chosen.")),
                ("region", models.CharField(max_length=50)),
                (
                    "pinned",
                    models.BooleanField(default=False, help_text="The region was asked for and is binding."),
                ),
                ("queue", models.CharField(max_length=60)),
                (
                    "priority",
                    models.PositiveSmallIntegerField(
                        choices=[(0, "high"), (1, "normal"), (2, "low")], default=1
                    ),
                ),
                ("start_tag", models.BigIntegerField(default=0)),
                ("run_at", models.DateTimeField(null=True)),
                ("deadline_at", models.DateTimeField(null=True)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("queued", "Queued"),
                            ("running", "Running"),
                            ("waiting", "Waiting"),
                            ("completed", "Completed"),
                            ("failed", "Failed"),
                            ("cancelled", "Cancelled"),
                            ("dead", "Dead"),
                        ],
                        default="queued",
                        max_length=10,
                    ),
                ),
                ("run", models.PositiveIntegerField(default=1)),
                ("attempts", models.PositiveIntegerField(default=0, help_text="Counted ones, in this run.")),
                (
                    "deferrals",
                    models.PositiveIntegerField(
                        default=0, help_text="Waits that were no attempts, in this run."
                    ),
                ),
                ("crashes", models.PositiveIntegerField(default=0, help_text="Leases lost in a row.")),
                ("lease_token", models.UUIDField(null=True)),
                ("lease_until", models.DateTimeField(null=True)),
                ("worker", models.CharField(blank=True, help_text="Who holds the lease.", max_length=120)),
                ("error_code", models.CharField(blank=True, max_length=60)),
                ("error_message", models.TextField(blank=True)),
                ("duration", models.FloatField(help_text="seconds of audio", null=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("claimed_at", models.DateTimeField(null=True)),
                ("started_at", models.DateTimeField(null=True)),
                ("finished_at", models.DateTimeField(null=True)),
                (
                    "batch",
                    models.ForeignKey(
                        db_index=False,
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="jobs",
                        to="jobs.batch",
                    ),
                ),
                (
                    "created_by",
                    models.ForeignKey(
                        db_index=False,
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "key",
                    models.ForeignKey(
                        db_index=False,
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="jobs",
                        to="jobs.apikey",
                    ),
                ),
                (
                    "project",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="jobs", to="jobs.project"
                    ),
                ),
                (
                    "recording",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="jobs",
                        to="jobs.recording",
                    ),
                ),
            ],
            options={
                "ordering": ("-id",),
            },
        ),
        migrations.CreateModel(
            name="Transcript",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=jobs.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("run", models.PositiveIntegerField()),
                ("version", models.PositiveIntegerField()),
                ("text", models.TextField(blank=True)),
                ("confidence", models.FloatField(null=True)),
                ("language", models.CharField(blank=True, max_length=20)),
                ("words", models.JSONField(default=list)),
                ("utterances", models.JSONField(default=list)),
                ("channels", models.JSONField(default=list)),
                (
                    "answer",
                    models.CharField(
                        blank=True, help_text="Stored name of the provider's answer.", max_length=200
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "corrected_by",
                    models.ForeignKey(
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "job",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="transcripts",
                        to="jobs.transcriptionjob",
                    ),
                ),
            ],
            options={
                "ordering": ("version",),
            },
        ),
        migrations.CreateModel(
            name="IdempotencyKey",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("key", models.CharField(max_length=255)),
                ("fingerprint", models.CharField(help_text="Of what was submitted.", max_length=64)),
                ("status_code", models.PositiveSmallIntegerField(null=True)),
                ("answer", models.BinaryField(null=True)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "batch",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.CASCADE, to="jobs.batch"
                    ),
                ),
                (
                    "project",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="jobs.project"),
                ),
                (
                    "job",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.CASCADE, to="jobs.transcriptionjob"
                    ),
                ),
            ],
        ),
        migrations.AddField(
            model_name="event",
            name="job",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="events",
                to="jobs.transcriptionjob",
            ),
        ),
        migrations.CreateModel(
            name="Attempt",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("run", models.PositiveIntegerField()),
                ("lease_token", models.UUIDField()),
                ("region", models.CharField(max_length=50)),
                ("worker", models.CharField(max_length=120)),
                (
                    "outcome",
                    models.CharField(
                        choices=[
                            ("completed", "Completed"),
                            ("retried", "Retried"),
                            ("deferred", "Deferred"),
                            ("failed", "Failed"),
                            ("cancelled", "Cancelled"),
                            ("released", "Released"),
                            ("lost", "Lost"),
                            ("crashed", "Crashed"),
                        ],
                        max_length=10,
                    ),
                ),
                ("outcome_unknown", models.BooleanField(default=False)),
                ("counted", models.BooleanField()),
                ("status_code", models.PositiveSmallIntegerField(help_text="The provider's.", null=True)),
                ("request_id", models.CharField(blank=True, help_text="The provider's.", max_length=100)),
                ("error_code", models.CharField(blank=True, max_length=60)),
                ("error_message", models.TextField(blank=True)),
                (
                    "provider_code",
                    models.CharField(
                        blank=True,
                        default="",
                        help_text="The provider's own name for the error.",
                        max_length=60,
                    ),
                ),
                ("started_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "job",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="history",
                        to="jobs.transcriptionjob",
                    ),
                ),
            ],
            options={
                "ordering": ("id",),
            },
        ),
        migrations.CreateModel(
            name="Upload",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=jobs.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("filename", models.CharField(blank=True, max_length=255)),
                ("size", models.BigIntegerField(help_text="bytes, when all are there")),
                ("sha256", models.CharField(blank=True, help_text="As it was announced.", max_length=64)),
                ("parts_id", models.CharField(blank=True, help_text="S3's name for it.", max_length=1024)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("expires_at", models.DateTimeField()),
                (
                    "created_by",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.SET_NULL, to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "key",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.SET_NULL, to="jobs.apikey"
                    ),
                ),
                (
                    "project",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="uploads", to="jobs.project"
                    ),
                ),
                (
                    "recording",
                    models.OneToOneField(
                        null=True, on_delete=django.db.models.deletion.CASCADE, to="jobs.recording"
                    ),
                ),
            ],
            options={
                "ordering": ("-id",),
            },
        ),
        migrations.CreateModel(
            name="WebhookEndpoint",
            fields=[
                (
                    "webhook_secret",
                    routing.encryption.EncryptedTextField(
                        default=jobs.models.signing.new_webhook_secret, editable=False
                    ),
                ),
                (
                    "previous_webhook_secret",
                    routing.encryption.EncryptedTextField(default="", editable=False),
                ),
                ("previous_webhook_secret_until", models.DateTimeField(editable=False, null=True)),
                (
                    "id",
                    models.UUIDField(
                        default=jobs.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("url", models.URLField(max_length=2000)),
                ("description", models.CharField(blank=True, max_length=200)),
                (
                    "event_types",
                    models.JSONField(
                        blank=True, default=list, help_text="What it is told of; none named means everything."
                    ),
                ),
                ("disabled_at", models.DateTimeField(editable=False, null=True)),
                (
                    "disabled_reason",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("by_hand", "was disabled by hand"),
                            ("gone", "answered 410 Gone"),
                            ("failing", "has failed for five days"),
                            ("deleted", "was deleted"),
                        ],
                        editable=False,
                        max_length=10,
                    ),
                ),
                (
                    "failing_since",
                    models.DateTimeField(
                        editable=False, help_text="Nothing but failures since then.", null=True
                    ),
                ),
                ("failures", models.PositiveIntegerField(default=0, editable=False, help_text="Since then.")),
                ("last_failed_at", models.DateTimeField(editable=False, null=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "project",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="endpoints",
                        to="jobs.project",
                    ),
                ),
            ],
            options={
                "verbose_name": "webhook endpoint",
                "ordering": ("-id",),
            },
        ),
        migrations.AddField(
            model_name="delivery",
            name="endpoint",
            field=models.ForeignKey(
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="deliveries",
                to="jobs.webhookendpoint",
            ),
        ),
        migrations.CreateModel(
            name="BatchArchive",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=jobs.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("filename", models.CharField(blank=True, max_length=255)),
                ("file", models.CharField(editable=False, help_text="Its stored name.", max_length=200)),
                ("size", models.BigIntegerField(help_text="bytes")),
                ("next_member", models.PositiveIntegerField(default=0)),
                ("recording_id", models.UUIDField(default=jobs.ids.uuid7, editable=False)),
                ("claims", models.PositiveIntegerField(default=0, help_text="Since the last member.")),
                ("lease_token", models.UUIDField(editable=False, null=True)),
                ("lease_until", models.DateTimeField(editable=False, null=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("opened_at", models.DateTimeField(help_text="To the end.", null=True)),
                (
                    "batch",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="archives", to="jobs.batch"
                    ),
                ),
            ],
            options={
                "ordering": ("id",),
                "indexes": [
                    models.Index(
                        condition=models.Q(("opened_at", None)), fields=["lease_until"], name="archive_due"
                    )
                ],
            },
        ),
        migrations.AddConstraint(
            model_name="membership",
            constraint=models.UniqueConstraint(fields=("project", "user"), name="membership_once"),
        ),
        migrations.AddIndex(
            model_name="batch",
            index=models.Index(fields=["project", "-id"], name="batch_of_project"),
        ),
        migrations.AddIndex(
            model_name="batch",
            index=models.Index(
                condition=models.Q(("move", ""), _negated=True), fields=["moved_at"], name="batch_moving"
            ),
        ),
        migrations.AddConstraint(
            model_name="batch",
            constraint=models.CheckConstraint(
                condition=models.Q(("finished_at", None), ("sealed_at__isnull", False), _connector="OR"),
                name="batch_is_sealed_once_finished",
            ),
        ),
        migrations.AddIndex(
            model_name="auditentry",
            index=models.Index(fields=["project", "-id"], name="audit_of_project"),
        ),
        migrations.AddIndex(
            model_name="auditentry",
            index=models.Index(fields=["object_id", "-id"], name="audit_of_object"),
        ),
        migrations.AddIndex(
            model_name="auditentry",
            index=models.Index(fields=["at"], name="audit_at"),
        ),
        migrations.AddIndex(
            model_name="recording",
            index=models.Index(fields=["project", "sha256", "-id"], name="recording_duplicates"),
        ),
        migrations.AddIndex(
            model_name="recording",
            index=models.Index(
                condition=models.Q(("audio_deleted_at", None)),
                fields=["project", "created_at"],
                name="recording_with_audio",
            ),
        ),
        migrations.AddIndex(
            model_name="recording",
            index=models.Index(fields=["created_at"], name="recording_created"),
        ),
        migrations.AddIndex(
            model_name="transcriptionjob",
            index=models.Index(
                condition=models.Q(("status", "queued")),
                fields=["queue", "priority", "start_tag", "id"],
                name="job_queued",
            ),
        ),
        migrations.AddIndex(
            model_name="transcriptionjob",
            index=models.Index(
                condition=models.Q(("status", "waiting")),
                fields=["queue", "priority", "run_at"],
                name="job_waiting",
            ),
        ),
        migrations.AddIndex(
            model_name="transcriptionjob",
            index=models.Index(
                condition=models.Q(("status", "queued")),
                fields=["queue", "priority", "project", "start_tag"],
                name="job_last_of_project",
            ),
        ),
        migrations.AddIndex(
            model_name="transcriptionjob",
            index=models.Index(
                condition=models.Q(("status", "running")), fields=["lease_until"], name="job_leased"
            ),
        ),
        migrations.AddIndex(
            model_name="transcriptionjob",
            index=models.Index(
                condition=models.Q(("status", "running")), fields=["lease_token"], name="job_held"
            ),
        ),
        migrations.AddIndex(
            model_name="transcriptionjob",
            index=models.Index(
                condition=models.Q(("status__in", ("queued", "waiting"))),
                fields=["deadline_at"],
                name="job_deadline",
            ),
        ),
        migrations.AddIndex(
            model_name="transcriptionjob",
            index=models.Index(
                condition=models.Q(("status__in", ("queued", "running", "waiting"))),
                fields=["key"],
                name="job_open_of_key",
            ),
        ),
        migrations.AddIndex(
            model_name="transcriptionjob",
            index=models.Index(fields=["key", "-id"], name="job_of_key"),
        ),
        migrations.AddIndex(
            model_name="transcriptionjob",
            index=models.Index(fields=["created_by", "-id"], name="job_of_person"),
        ),
        migrations.AddIndex(
            model_name="transcriptionjob",
            index=models.Index(
                condition=models.Q(("error_code__gt", "")),
                fields=["project", "error_code", "-id"],
                name="job_by_error",
            ),
        ),
        migrations.AddIndex(
            model_name="transcriptionjob",
            index=models.Index(fields=["project", "-id"], name="job_of_project"),
        ),
        migrations.AddIndex(
            model_name="transcriptionjob",
            index=models.Index(fields=["status", "-id"], name="job_by_status"),
        ),
        migrations.AddIndex(
            model_name="transcriptionjob",
            index=models.Index(
                condition=models.Q(("batch__isnull", False)), fields=["batch", "id"], name="job_of_batch"
            ),
        ),
        migrations.AddIndex(
            model_name="transcriptionjob",
            index=models.Index(
                condition=models.Q(("batch__isnull", False), ("finished_at", None)),
                fields=["batch"],
                name="job_unfinished_in_batch",
            ),
        ),
        migrations.AddConstraint(
            model_name="transcriptionjob",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "status__in",
                        ["queued", "running", "waiting", "completed", "failed", "cancelled", "dead"],
                    )
                ),
                name="job_status_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="transcriptionjob",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("lease_token__isnull", False), ("lease_until__isnull", False), ("status", "running")
                    ),
                    models.Q(
                        models.Q(("status", "running"), _negated=True),
                        ("lease_token", None),
                        ("lease_until", None),
                    ),
                    _connector="OR",
                ),
                name="job_is_leased_while_running",
            ),
        ),
        migrations.AddConstraint(
            model_name="transcriptionjob",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("status", "waiting"), _negated=True), ("run_at__isnull", False), _connector="OR"
                ),
                name="job_waits_until_an_instant",
            ),
        ),
        migrations.AddConstraint(
            model_name="transcriptionjob",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("finished_at__isnull", False),
                        ("status__in", ("completed", "failed", "cancelled", "dead")),
                    ),
                    models.Q(
                        models.Q(("status__in", ("completed", "failed", "cancelled", "dead")), _negated=True),
                        ("finished_at", None),
                    ),
                    _connector="OR",
                ),
                name="job_is_finished_once_ended",
            ),
        ),
        migrations.AddConstraint(
            model_name="transcript",
            constraint=models.UniqueConstraint(fields=("job", "version"), name="transcript_version_once"),
        ),
        migrations.AddConstraint(
            model_name="transcript",
            constraint=models.UniqueConstraint(
                condition=models.Q(("corrected_by", None)), fields=("job", "run"), name="one_result_per_run"
            ),
        ),
        migrations.AddIndex(
            model_name="idempotencykey",
            index=models.Index(fields=["created_at"], name="idempotency_key_expired"),
        ),
        migrations.AddConstraint(
            model_name="idempotencykey",
            constraint=models.UniqueConstraint(fields=("project", "key"), name="idempotency_key_once"),
        ),
        migrations.AddConstraint(
            model_name="idempotencykey",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("batch__isnull", False), ("job", None)),
                    models.Q(("batch", None), ("job__isnull", False)),
                    _connector="OR",
                ),
                name="idempotency_key_names_one",
            ),
        ),
        migrations.AddIndex(
            model_name="event",
            index=models.Index(fields=["project", "id"], name="event_of_project"),
        ),
        migrations.AddConstraint(
            model_name="event",
            constraint=models.UniqueConstraint(fields=("job", "sequence"), name="one_event_per_run"),
        ),
        migrations.AddConstraint(
            model_name="event",
            constraint=models.UniqueConstraint(
                condition=models.Q(("batch__isnull", False)),
                fields=("batch", "sequence"),
                name="one_event_per_run_of_batch",
            ),
        ),
        migrations.AddIndex(
            model_name="attempt",
            index=models.Index(
                condition=models.Q(("outcome", "completed")),
                fields=["region", "-id"],
                name="attempt_completed",
            ),
        ),
        migrations.AddConstraint(
            model_name="attempt",
            constraint=models.UniqueConstraint(fields=("job", "lease_token"), name="attempt_once"),
        ),
        migrations.AddIndex(
            model_name="upload",
            index=models.Index(fields=["expires_at"], name="upload_expired"),
        ),
        migrations.AddIndex(
            model_name="upload",
            index=models.Index(fields=["project", "-id"], name="upload_of_project"),
        ),
        migrations.AddIndex(
            model_name="webhookendpoint",
            index=models.Index(
                condition=models.Q(("failing_since__isnull", False)),
                fields=["failing_since"],
                name="endpoint_failing",
            ),
        ),
        migrations.AddConstraint(
            model_name="webhookendpoint",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("disabled_at", None), ("disabled_reason", "")),
                    models.Q(
                        ("disabled_at__isnull", False),
                        ("disabled_reason__in", ["by_hand", "gone", "failing", "deleted"]),
                    ),
                    _connector="OR",
                ),
                name="endpoint_is_disabled_for_a_reason",
            ),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("status", "pending")), fields=["run_at"], name="delivery_due"
            ),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("lease_token__isnull", False)),
                fields=["receiver"],
                name="delivery_leased",
            ),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(fields=["endpoint", "-id"], name="delivery_of_endpoint"),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(
                    ("status", "failed"),
                    models.Q(("attempts__gt", 0), ("status", "pending")),
                    _connector="OR",
                ),
                fields=["-id"],
                name="delivery_in_trouble",
            ),
        ),
        migrations.AddConstraint(
            model_name="delivery",
            constraint=models.UniqueConstraint(
                fields=("event", "endpoint"), name="one_delivery_per_endpoint"
            ),
        ),
        migrations.AddConstraint(
            model_name="delivery",
            constraint=models.UniqueConstraint(
                condition=models.Q(("endpoint", None)),
                fields=("event", "url"),
                name="one_delivery_per_callback",
            ),
        ),
        migrations.AddConstraint(
            model_name="delivery",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["pending", "delivered", "failed"])),
                name="delivery_status_is_known",
            ),
        ),
    ]
