"""Makes an API key, and the user and the project that it is for if they are missing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils import timezone

from jobs.audit import record
from jobs.management.database import require_tables
from jobs.models import ApiKey, Project, Scope
from jobs.models.audit import Action

# Who did it, for the audit log: who may run this is anybody to us.
ACTOR = "manage.py create_api_key"
LONGEST_DAYS = 3650


class Command(BaseCommand):
    help = "Prints a new API key, alone on standard output. What is missing is created."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", help="username")
        parser.add_argument("--project", help="one of the user's, by its name (default: the personal one)")
        parser.add_argument("--name", default="command line", help="what the key is called")
        parser.add_argument(
            "--scopes", default="", help=f"of {', '.join(Scope.values)}, with commas between (default: all)"
        )
        parser.add_argument("--expires-in", type=int, metavar="DAYS", help="(default: it does not)")

    def handle(self, *args: Any, **options: Any) -> None:
        require_tables()
        scopes = _scopes(options["scopes"])
        expires_at = _in_days(options["expires_in"])
        with transaction.atomic():
            user = self._user(options["user"])
            named = options["project"]
            project = self._project(user, named) if named else Project.objects.personal(user)
            key, text = ApiKey.objects.issue(
                project, options["name"], created_by=user, scopes=scopes, expires_at=expires_at
            )
            record(Action.KEY_ISSUED, about=key, actor=ACTOR)
        self.stdout.write(text)

    def _user(self, username: str) -> Any:
        users = get_user_model()
        user = users.objects.filter(username=username).first()
        if user is None:
            user = users.objects.create_user(username)
            record(Action.USER_CREATED, about=user, actor=ACTOR)
            self.stderr.write(f"Created the user {username}, without a password (manage.py changepassword).")
        return user

    def _project(self, user: Any, name: str) -> Project:
        project = Project.objects.existing().filter(members=user, name=name).first()
        if project is None:
            project = Project.objects.found(user, name=name)
            record(Action.PROJECT_CREATED, about=project, actor=ACTOR)
            self.stderr.write(f"Created the project {name}.")
        return project


def _scopes(text: str) -> list[str]:
    scopes = [name for name in text.split(",") if name]
    if unknown := sorted(set(scopes) - set(Scope.values)):
        raise CommandError(f"There is no scope {unknown[0]}; there are {', '.join(Scope.values)}.")
    return scopes


def _in_days(days: int | None) -> Any:
    if days is None:
        return None
    if not 0 < days <= LONGEST_DAYS:
        raise CommandError(f"--expires-in takes 1 to {LONGEST_DAYS} days.")
    return timezone.now() + timedelta(days=days)
