"""Who owns what: projects and their members."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models, transaction
from django.db.models.functions import Now

from jobs.database_turns import Turn, wait_for
from jobs.ids import uuid7
from jobs.models.signing import Signing


class Role(models.TextChoices):
    """What a member may do; each role may also do what those before it may."""

    READER = "reader"
    UPLOADER = "uploader"
    REVIEWER = "reviewer"
    OPERATOR = "operator"


def _at_least(role: str) -> list[str]:
    return Role.values[Role.values.index(role) :]


class ProjectManager(models.Manager["Project"]):
    def personal(self, user: User) -> Project:
        """The project that everyone has for themselves, made at the first asking."""
        project = self.filter(personal_to=user).first()
        if project is None:
            with transaction.atomic():
                project, _ = self.get_or_create(
                    personal_to=user, defaults={"name": f"{user.get_username()}'s recordings"}
                )
                Membership.objects.get_or_create(project=project, user=user, defaults={"role": Role.OPERATOR})
        return project

    def shared(self, name: str) -> Project:
        """The oldest project of this name that is nobody's own, made if there is none."""
        named = self.existing().filter(name=name, personal_to=None).order_by("pk")
        found = named.first()
        if found is None:
            with transaction.atomic(using=self.db):
                wait_for(Turn.NAMING_PROJECTS, self.db)
                found = named.first() or self.create(name=name)
        return found

    def found(self, user: User, **fields: Any) -> Project:
        """A new project that `user` operates."""
        with transaction.atomic():
            project = self.create(**fields)
            Membership.objects.create(project=project, user=user, role=Role.OPERATOR)
        return project

    def visible_to(self, user: User) -> models.QuerySet[Project]:
        """Staff see all projects, others those that they are members of; nobody those that are deleted."""
        return self.existing() if user.is_staff else self.existing().filter(members=user)

    def allowing(self, user: User, role: str) -> models.QuerySet[Project]:
        """Those in which `user` may do what members with `role` may (Project.allows)."""
        member = models.Q(membership__user=user, membership__role__in=_at_least(role))
        return self.existing() if user.is_staff else self.existing().filter(member)

    def existing(self) -> models.QuerySet[Project]:
        return self.filter(deleted_at=None)

    def hidden(self) -> models.QuerySet[Project]:
        """Deleted ones that are to be erased still."""
        return self.filter(deleted_at__isnull=False)

    def forgetting(self) -> models.QuerySet[Project]:
        """Those that keep some things for a time only."""
        if settings.AUDIO_DAYS is not None or settings.TRANSCRIPT_DAYS is not None:
            return self.existing()
        timed = models.Q(audio_days__isnull=False) | models.Q(transcript_days__isnull=False)
        return self.existing().filter(timed)


class Project(Signing):
    """The owner of recordings, jobs, streams, keys and webhooks, and of the policies that hold for them.

    Its webhook secret signs what goes to a job's `callback_url`.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=100)
    personal_to = models.OneToOneField(
        settings.AUTH_USER_MODEL, null=True, blank=True, editable=False, on_delete=models.SET_NULL
    )
    members = models.ManyToManyField(settings.AUTH_USER_MODEL, through="Membership", related_name="projects")
    residency = models.JSONField(
        default=list, blank=True, help_text="Regions that its audio may go to; none named means any."
    )
    improve_provider_models = models.BooleanField(
        default=False, help_text="Let the provider keep the audio to train its models (mip_opt_out=false)."
    )
    redact = models.JSONField(
        default=list,
        blank=True,
        help_text="What the provider leaves out of everything that it transcribes for the project.",
    )
    audio_days = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        help_text="How long audio is kept after it came; empty: as AUDIO_DAYS says, or always.",
    )
    transcript_days = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        help_text="How long transcripts, answers and events are kept after their job ended; empty: as "
        "TRANSCRIPT_DAYS says, or always.",
    )
    daily_minutes = models.PositiveIntegerField(
        null=True, blank=True, help_text="Minutes of audio that it may have a day (UTC); empty: any."
    )
    created_at = models.DateTimeField(auto_now_add=True)
    deleted_at = models.DateTimeField(null=True, editable=False, help_text="It is being erased since then.")

    objects: ClassVar[ProjectManager] = ProjectManager()

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    def hide(self) -> None:
        """Nobody sees it any more, and whose it was may have a personal project again."""
        Project.objects.existing().filter(pk=self.pk).update(deleted_at=Now(), personal_to=None)

    @property
    def policy(self) -> dict[str, Any]:
        """What it has the provider do whatever a caller asks for, as receipts tell it."""
        return {"mip_opt_out": not self.improve_provider_models, "redact": list(self.redact)}

    def imposed_on(self, query: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """The provider's query under the project's policy: who asked may have more left out, never less."""
        asked = [pair for pair in query if not (self.redact and pair == ("redact", "false"))]
        more = [("redact", kind) for kind in self.redact if ("redact", kind) not in asked]
        return [*asked, *more, ("mip_opt_out", "false" if self.improve_provider_models else "true")]

    @property
    def keeps_audio_days(self) -> int | None:
        """Its own policy, or the installation's; None: always. So below."""
        days: int | None = settings.AUDIO_DAYS
        return days if self.audio_days is None else self.audio_days

    @property
    def keeps_transcript_days(self) -> int | None:
        days: int | None = settings.TRANSCRIPT_DAYS
        return days if self.transcript_days is None else self.transcript_days

    def allows(self, user: User, role: str) -> bool:
        """Whether `user` may do what members with `role` may; staff may do everything."""
        if user.is_staff:
            return True
        return self.membership_set.filter(user=user, role__in=_at_least(role)).exists()

    def operator_addresses(self) -> set[str]:
        """Where its operators read mail; those who gave no address are not among them."""
        operators = self.membership_set.filter(role=Role.OPERATOR, user__is_active=True)
        return set(operators.exclude(user__email="").values_list("user__email", flat=True))


class Membership(models.Model):
    """A user's role in a project."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    role = models.CharField(max_length=10, choices=Role, default=Role.UPLOADER)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("project", "user"), name="membership_once"),)

    def __str__(self) -> str:
        return f"{self.user} ({self.role}) in {self.project}"
