"""Makes an API key, and the user and the project that it is for if they are missing."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction

from jobs.management.database import require_tables
from jobs.models import ApiKey, Membership, Project, Role


class Command(BaseCommand):
    help = "Prints a new API key, alone on standard output. What is missing is created."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", help="username")
        parser.add_argument("--project", help="one of the user's, by its name (default: the personal one)")
        parser.add_argument("--name", default="command line", help="what the key is called")

    def handle(self, *args: Any, **options: Any) -> None:
        require_tables()
        with transaction.atomic():
            user = self._user(options["user"])
            named = options["project"]
            project = self._project(user, named) if named else Project.objects.personal(user)
            _, text = ApiKey.objects.issue(project, options["name"], created_by=user)
        self.stdout.write(text)

    def _user(self, username: str) -> Any:
        users = get_user_model()
        user = users.objects.filter(username=username).first()
        if user is None:
            user = users.objects.create_user(username)
            self.stderr.write(f"Created the user {username}, without a password (manage.py changepassword).")
        return user

    def _project(self, user: Any, name: str) -> Project:
        project = Project.objects.filter(members=user, name=name).first()
        if project is None:
            project = Project.objects.create(name=name)
            Membership.objects.create(project=project, user=user, role=Role.OPERATOR)
            self.stderr.write(f"Created the project {name}.")
        return project
