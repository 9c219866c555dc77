"""The table of regions. Code is given what `routing.regions` makes of a row; only the admin writes rows."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.core.validators import MinValueValidator, RegexValidator
from django.db import models

from routing.encryption import EncryptedTextField


class Profile(models.TextChoices):
    """How hard a region is worked: jobs at once for each worker, and attempts of a job."""

    DEFAULT = "default"
    ENTERPRISE = "enterprise"

    @property
    def concurrency(self) -> int:
        return 20 if self is Profile.ENTERPRISE else int(settings.WORKER_CONCURRENCY)

    @property
    def max_attempts(self) -> int:
        return 5 if self is Profile.ENTERPRISE else int(settings.MAX_ATTEMPTS)


class RegionRow(models.Model):
    """A provider endpoint with its own workers. What is empty is as the settings have it.

    Its name is in jobs, sessions and receipts, and so never changes.
    """

    name = models.CharField(
        primary_key=True,
        max_length=50,
        validators=[RegexValidator(r"^[A-Za-z0-9][A-Za-z0-9_.-]*\Z", "Letters, digits and - _ . only.")],
    )
    enabled = models.BooleanField(default=True, help_text="Off: it is given no work, and what it has moves.")
    # Not URLField, which knows no names of one's own network, as http://deepgram:8080.
    base_url = models.CharField(
        max_length=200,
        blank=True,
        validators=[RegexValidator(r"^https?://\S+\Z", "Begins with https:// or http://.")],
        help_text="Of recordings: https://api.eu.deepgram.com. Empty: DEEPGRAM_BASE_URL.",
    )
    live_url = models.CharField(
        max_length=200,
        blank=True,
        validators=[RegexValidator(r"^wss?://\S+\Z", "Begins with wss:// or ws://.")],
        help_text="Of live audio, if it is elsewhere: wss://live.example.com.",
    )
    api_key = EncryptedTextField(blank=True, default="", help_text="Empty: DEEPGRAM_API_KEY.")
    queue = models.CharField(
        max_length=60, unique=True, help_text="Its own: the workers of the region serve it."
    )
    broker_url = EncryptedTextField(
        blank=True, default="", help_text="The Redis by which its workers are woken. Empty: REDIS_URL."
    )
    weight = models.PositiveSmallIntegerField(
        default=1, help_text="Its share of the work, beside the others'. 0: only what no other can do."
    )
    residency = models.JSONField(
        default=list, blank=True, help_text="Labels, as eu, by which projects may name it beside its name."
    )
    profile = models.CharField(max_length=10, choices=Profile, default=Profile.DEFAULT)
    concurrency = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Jobs that one of its workers runs at once. Empty: the profile's, 10 or 20.",
    )
    max_attempts = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Of a job, in all. Empty: the profile's, 3 or 5.",
    )
    max_recordings = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text="Recordings that its provider takes at once. 0: no limit. Empty: PROVIDER_MAX_RECORDINGS.",
    )
    max_live = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text="Live connections to its provider at once. 0: no limit. Empty: PROVIDER_MAX_LIVE.",
    )
    max_calls = models.PositiveIntegerField(
        null=True, blank=True, help_text="Both together. 0: no limit. Empty: PROVIDER_MAX_CALLS."
    )
    changed_at = models.DateTimeField(auto_now=True)

    objects: ClassVar[models.Manager[RegionRow]] = models.Manager()

    class Meta:
        db_table = "routing_region"
        verbose_name = "region"
        ordering = ("-weight", "name")

    def __str__(self) -> str:
        return self.name
