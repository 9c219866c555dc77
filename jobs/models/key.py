"""API keys: who a program speaks for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from math import ceil
from typing import Any, ClassVar

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models, transaction
from django.db.models import ExpressionWrapper, F, Q
from django.db.models.functions import Coalesce, Greatest, Least, Now
from django.utils import timezone
from rest_framework_api_key.crypto import KeyGenerator

from jobs.ids import uuid7
from jobs.json_lists import holding
from jobs.models.project import Project
from jobs.refusal import Refusal

# 43 letters and digits hold 256 bits. A fast hash is right for that much randomness: nobody can try them all.
_generator = KeyGenerator(prefix_length=8, secret_key_length=43)
_USE_NOTED_EVERY = timedelta(minutes=1)
_MINUTE = timedelta(minutes=1)


class Scope(models.TextChoices):
    """What a key may do: look; change recordings and jobs; change keys, secrets and the project itself."""

    READ = "read"
    WRITE = "write"
    MANAGE = "manage"


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a key with a limit has left of its requests: `limit` a minute, `remaining` of them now.

    `full_in`: seconds until all of them are there again.
    """

    limit: int
    remaining: int
    full_in: int


class TooManyRequests(Exception):
    """The key has no request left; there is one again in `wait` seconds."""

    def __init__(self, allowance: Allowance, wait: int) -> None:
        super().__init__(f"The key has {allowance.limit} requests a minute. Try again in {wait} s.")
        self.allowance = allowance
        self.wait = wait


class KeyNotUsable(Refusal):
    """It is revoked or expired."""

    status = 409

    def __init__(self, key: ApiKey) -> None:
        super().__init__("key_not_usable", f"{key} is revoked or expired: issue a new key instead.")


class ApiKeyManager(models.Manager["ApiKey"]):
    def usable(self) -> models.QuerySet[ApiKey]:
        unexpired = Q(expires_at=None) | Q(expires_at__gt=Now())
        return self.filter(unexpired, revoked_at=None, project__deleted_at=None)

    def allowing(self, origin: str) -> models.QuerySet[ApiKey]:
        """The usable ones that pages of this origin may use."""
        return holding(self.usable(), "allowed_origins", origin)

    def issue(self, project: Project, name: str, **fields: Any) -> tuple[ApiKey, str]:
        """A new key and its secret text, which is shown this once and never stored."""
        text, prefix, hashed = _generator.generate()
        return self.create(project=project, name=name, prefix=prefix, hash=hashed, **fields), text

    def rotate(self, key: ApiKey, overlap: timedelta, **fields: Any) -> tuple[ApiKey, str]:
        """A successor that may do what `key` may, for as long as `key` was made to live, and its text.

        The old one expires after `overlap`, or when it would have. KeyNotUsable if it is of no use already.
        """
        with transaction.atomic():
            key.expire_in(overlap)
            lives = key.expires_at and key.expires_at - key.created_at
            copied = ("scopes", "allowed_origins", "requests_per_minute", "max_open_jobs")
            return self.issue(
                key.project,
                key.name,
                expires_at=lives and timezone.now() + lives,
                **{name: getattr(key, name) for name in copied},
                **fields,
            )

    def authenticate(self, text: str) -> ApiKey | None:
        """The usable key with this text, its project along. None: unknown, revoked and expired look alike."""
        named = self.select_related("project").filter(prefix=text.partition(".")[0][:8])
        # There is one: an order would only have to be thought out, for every request.
        key = next(iter(named.order_by()), None)
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
    requests_per_minute = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="None given: KEY_REQUESTS_PER_MINUTE holds.",
    )
    max_open_jobs = models.PositiveIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1)], help_text="None given: KEY_OPEN_JOBS holds."
    )
    # The generic cell rate algorithm's theoretical arrival time: until then its requests are spent.
    spent_until = models.DateTimeField(null=True, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, editable=False, on_delete=models.SET_NULL
    )
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, editable=False)
    revoked_at = models.DateTimeField(null=True, editable=False)

    # What this request left of them, once it is counted.
    allowance: Allowance | None = None

    objects: ClassVar[ApiKeyManager] = ApiKeyManager()

    class Meta:
        verbose_name = "API key"
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @property
    def is_usable(self) -> bool:
        expired = self.expires_at is not None and self.expires_at <= timezone.now()
        return self.revoked_at is None and not expired and self.project.deleted_at is None

    def covers(self, *scopes: str) -> bool:
        """Whether the key may do all that one with these scopes may."""
        return not self.scopes or (bool(scopes) and set(scopes) <= set(self.scopes))

    def revoke(self) -> None:
        """Make the key useless for good."""
        ApiKey.objects.filter(pk=self.pk, revoked_at=None).update(revoked_at=Now())

    @property
    def request_limit(self) -> int | None:
        """Requests a minute; None if it has no such limit."""
        return self.requests_per_minute or settings.KEY_REQUESTS_PER_MINUTE or None

    @property
    def open_jobs_limit(self) -> int | None:
        """Jobs that it submitted and that have not ended yet; None if it has no such limit."""
        return self.max_open_jobs or settings.KEY_OPEN_JOBS or None

    def expire_in(self, overlap: timedelta) -> None:
        """Expire then, or earlier if it is to anyway; `expires_at` stays what it was. KeyNotUsable."""
        until = Least(Coalesce("expires_at", Now() + overlap), Now() + overlap)
        if not ApiKey.objects.usable().filter(pk=self.pk).update(expires_at=until):
            raise KeyNotUsable(self)

    def use(self) -> Allowance | None:
        """Count a request: what is left, or None for a key without a limit. TooManyRequests if nothing is.

        The generic cell rate algorithm (ITU-T I.371, annex A) in one conditional UPDATE by the database's
        clock, so that it is exact however many processes ask: as many requests at once as a minute has, and
        after that one for each part of the minute.
        """
        limit = self.request_limit
        if limit is None:
            self._note_use()
            return None
        each = _MINUTE / limit
        row = ApiKey.objects.filter(pk=self.pk)
        one_left = Q(spent_until=None) | Q(spent_until__lte=Now() + (_MINUTE - each))
        spent = Greatest(Coalesce("spent_until", Now()), Now()) + each
        counted = row.filter(one_left).update(spent_until=spent, last_used_at=Now())
        owed = ExpressionWrapper(F("spent_until") - Now(), output_field=models.DurationField())
        ahead = max(row.values_list(owed, flat=True).first() or timedelta(), timedelta())
        allowance = Allowance(limit, max(0, (_MINUTE - ahead) // each), ceil(ahead.total_seconds()))
        if not counted:
            raise TooManyRequests(allowance, max(1, ceil((ahead + each - _MINUTE).total_seconds())))
        return allowance

    def _note_use(self) -> None:
        """Remember when the key was last used, writing at most once a minute."""
        now = timezone.now()
        if self.last_used_at is None or now - self.last_used_at > _USE_NOTED_EVERY:
            ApiKey.objects.filter(pk=self.pk).update(last_used_at=now)
