"""Moves all secrets to the first of ENCRYPTION_KEYS; docs/security.md says when."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from routing.encryption import rotate


class Command(BaseCommand):
    help = "Encrypts all secrets with the first of ENCRYPTION_KEYS, after which the others can be removed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Count, and change nothing.")

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        rotation = rotate(dry_run=dry_run)
        moved = f"{rotation.rotated} secrets {'would be' if dry_run else 'were'} encrypted anew"
        self.stdout.write(f"{moved}, {rotation.current} had the first key already.")
        if rotation.unreadable:
            raise CommandError(
                f"No key of ENCRYPTION_KEYS opens {len(rotation.unreadable)} secrets. Put their key back and "
                "run this again, or replace them:\n" + "\n".join(rotation.unreadable)
            )
