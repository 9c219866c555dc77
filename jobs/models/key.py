"""API keys: who a program speaks for."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models.functions import Now
from django.utils import timezone
from rest_framework_api_key.crypto import KeyGenerator

from jobs.ids import uuid7
from jobs.models.project import Project

# 43 letters and digits hold 256 bits. A fast hash is right for that much randomness: nobody can try them all.
_generator = KeyGenerator(prefix_length=8, secret_key_length=43)
_USE_NOTED_EVERY = timedelta(minutes=1)


class Scope(models.TextChoices):
    """What a key may do: look; change recordings and jobs; change keys, secrets and the project itself."""

    READ = "read"
    WRITE = "write"
    MANAGE = "manage"


class ApiKeyManager(models.Manager["ApiKey"]):
    def issue(self, project: Project, name: str, **fields: Any) -> tuple[ApiKey, str]:
        """A new key and its secret text, which is shown this once and never stored."""
        text, prefix, hashed = _generator.generate()
        return self.create(project=project, name=name, prefix=prefix, hash=hashed, **fields), text

    def authenticate(self, text: str) -> ApiKey | None:
        """The usable key with this text, its project along. None: unknown, revoked and expired look alike."""
        key = self.select_related("project").filter(prefix=text.partition(".")[0][:8]).first()
        if key is None or not _generator.verify(text, key.hash) or not key.is_usable:
            return None
        return key


class ApiKey(models.Model):
    """A key of a project. Only its prefix and a hash are kept."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="keys")
    name = models.CharField(max_length=50)
    prefix = models.CharField(max_length=8, unique=True, editable=False)
    hash = models.CharField(max_length=150, editable=False)
    scopes = models.JSONField(default=list, blank=True, help_text="None named means all.")
    allowed_origins = models.JSONField(
        default=list, blank=True, help_text="Origins whose pages may use this key in a browser."
    )
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, editable=False, on_delete=models.SET_NULL
    )
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, editable=False)
    revoked_at = models.DateTimeField(null=True, editable=False)

    objects: ClassVar[ApiKeyManager] = ApiKeyManager()

    class Meta:
        verbose_name = "API key"
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @property
    def is_usable(self) -> bool:
        expired = self.expires_at is not None and self.expires_at <= timezone.now()
        return self.revoked_at is None and not expired

    def covers(self, *scopes: str) -> bool:
        """Whether the key may do all that one with these scopes may."""
        return not self.scopes or (bool(scopes) and set(scopes) <= set(self.scopes))

    def revoke(self) -> None:
        """Make the key useless for good."""
        ApiKey.objects.filter(pk=self.pk, revoked_at=None).update(revoked_at=Now())

    def note_use(self) -> None:
        """Remember when the key was last used, writing at most once a minute."""
        now = timezone.now()
        if self.last_used_at is None or now - self.last_used_at > _USE_NOTED_EVERY:
            ApiKey.objects.filter(pk=self.pk).update(last_used_at=now)
