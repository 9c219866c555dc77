"""Secrets encrypted at rest, so that a copy of the database gives none away."""

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.apps import apps
from django.conf import settings
from django.db import models
from django.db.models.query_utils import DeferredAttribute

ROTATED_AT_A_TIME = 500


class SecretUnreadable(Exception):
    """The key that it was encrypted with is not among ours any more. `message` says what to do."""

    code = "secret_unreadable"
    message = "No key of ENCRYPTION_KEYS opens this secret: rotate it, or put the key back."

    def __init__(self) -> None:
        super().__init__(self.message)


@lru_cache(maxsize=1)
def _keys() -> list[Fernet]:
    """ENCRYPTION_KEYS, and one derived from SECRET_KEY: the first encrypts, all decrypt.

    The derived one is what there is before ENCRYPTION_KEYS is set; it stays, so that it can be set later.
    """
    derived = base64.urlsafe_b64encode(hashlib.sha256(settings.SECRET_KEY.encode()).digest()).decode()
    return [Fernet(key) for key in (*settings.ENCRYPTION_KEYS, derived)]


def _fernet() -> MultiFernet:
    return MultiFernet(_keys())


class _Token(str):
    """As it came from the database, not opened yet."""


class _OpenedWhenAskedFor(DeferredAttribute):
    def __get__(self, instance: Any, owner: Any = None) -> Any:
        value = super().__get__(instance, owner)
        if not isinstance(value, _Token):
            return value
        try:
            return _fernet().decrypt(value).decode()
        except InvalidToken:
            raise SecretUnreadable from None

    def __set__(self, instance: Any, value: Any) -> None:
        instance.__dict__[self.field.attname] = value


class EncryptedTextField(models.TextField):  # type: ignore[type-arg]  # not generic at run time
    """Text in Python, a Fernet token in the database. Cannot be searched.

    Opened when the attribute is read, which raises SecretUnreadable if no key fits: a row can be read, and
    listed with others, without its secret.
    """

    descriptor_class = _OpenedWhenAskedFor

    def get_prep_value(self, value: Any) -> Any:
        if not value or isinstance(value, _Token):
            return value
        return _fernet().encrypt(value.encode()).decode()

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        return _Token(value) if value else value


@dataclass(slots=True)
class Rotation:
    """Secrets that the first key had already, those moved to it, and those that no key opens."""

    current: int = 0
    rotated: int = 0
    unreadable: list[str] = field(default_factory=list)


def rotate(*, dry_run: bool = False) -> Rotation:
    """Encrypt all secrets of the database with the first key, so that the others can be taken away.

    Can be stopped and repeated at any time, and run while the service does: a secret that is replaced
    meanwhile is left alone.
    """
    rotation = Rotation()
    for model in apps.get_models():
        for column in model._meta.local_concrete_fields:
            if isinstance(column, EncryptedTextField):
                _rotate_column(model._base_manager.all(), column.name, rotation, dry_run)
    return rotation


def _rotate_column(rows: models.QuerySet[Any], name: str, rotation: Rotation, dry_run: bool) -> None:
    first, rest = _keys()[0], _fernet()
    for pk, token in _tokens(rows, name):
        try:
            first.decrypt(token)
        except InvalidToken:
            try:
                moved = _Token(rest.rotate(token).decode())
            except InvalidToken:
                rotation.unreadable.append(f"{rows.model._meta.label} {pk}: {name}")
                continue
            if not dry_run:
                rows.filter(pk=pk, **{name: token}).update(**{name: moved})
            rotation.rotated += 1
        else:
            rotation.current += 1


def _tokens(rows: models.QuerySet[Any], name: str) -> Iterator[tuple[Any, _Token]]:
    """Read a page at a time: nothing stays open while rows are changed."""
    pages = rows.exclude(**{name: ""}).exclude(**{name: None}).order_by("pk").values_list("pk", name)
    page = list(pages[:ROTATED_AT_A_TIME])
    while page:
        yield from page
        page = list(pages.filter(pk__gt=page[-1][0])[:ROTATED_AT_A_TIME])
