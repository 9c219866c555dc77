"""`manage.py erase`: erase what somebody has in a project, now."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from jobs.forgetting import erasure
from jobs.models import Erasure, Project, Subject

# Who did it, for the audit log: who may run this is anybody to us.
ACTOR = "manage.py erase"


class Command(BaseCommand):
    help = "Erases all that a user, key, tag or customer has in a project, and tells what it was."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("project", type=UUID, help="its id")
        whose = parser.add_mutually_exclusive_group(required=True)
        whose.add_argument("--user", help="username: what they submitted in person")
        whose.add_argument("--key", help="id: what was submitted with it")
        whose.add_argument("--tag")
        whose.add_argument("--metadata", metavar="NAME=VALUE")
        parser.add_argument("--dry-run", action="store_true", help="Only count it.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            project = Project.objects.existing().get(pk=options["project"])
        except Project.DoesNotExist:
            raise CommandError(f"There is no project {options['project']}.") from None
        subject = next(each for each in Subject if each != Subject.PROJECT and options[each] is not None)
        try:
            value = erasure.value_of(project, subject, options[subject])
        except erasure.UnknownSubject as error:
            raise CommandError(str(error)) from None
        if options["dry_run"]:
            there = erasure.found(Erasure(project=project, subject=subject, value=value))
            self.stdout.write(f"Would go: {erasure.in_words(there)}.")
            return
        asked = erasure.ask(project, subject, value, actor=ACTOR)
        try:
            for _ in erasure.erase_part(asked):
                pass
        except OSError as error:
            raise CommandError(f"Erasure {asked.pk} is not finished: {error}. A worker goes on.") from None
        # A worker may have had a part in it.
        asked.refresh_from_db()
        self.stdout.write(f"Erasure {asked.pk} deleted: {erasure.in_words(asked.deleted)}.")
