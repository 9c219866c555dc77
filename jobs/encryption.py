"""Secrets encrypted at rest, so that a copy of the database gives none away."""

import base64
import hashlib
from functools import lru_cache
from typing import Any

from cryptography.fernet import Fernet, MultiFernet
from django.conf import settings
from django.db import models
from django.db.models.query_utils import DeferredAttribute


@lru_cache(maxsize=1)
def _fernet() -> MultiFernet:
    """ENCRYPTION_KEYS: the first encrypts, all decrypt. Without any, a key derived from SECRET_KEY."""
    keys = settings.ENCRYPTION_KEYS or [
        base64.urlsafe_b64encode(hashlib.sha256(settings.SECRET_KEY.encode()).digest())
    ]
    return MultiFernet([Fernet(key) for key in keys])


class _Token(str):
    """As it came from the database, not opened yet."""


class _OpenedWhenAskedFor(DeferredAttribute):
    def __get__(self, instance: Any, owner: Any = None) -> Any:
        value = super().__get__(instance, owner)
        return _fernet().decrypt(value).decode() if isinstance(value, _Token) else value

    def __set__(self, instance: Any, value: Any) -> None:
        instance.__dict__[self.field.attname] = value


class EncryptedTextField(models.TextField):  # type: ignore[type-arg]  # not generic at run time
    """Text in Python, a Fernet token in the database. Cannot be searched.

    Opened when the attribute is read, which raises InvalidToken if no key fits: a row can be read, and listed
    with others, without its secret.
    """

    descriptor_class = _OpenedWhenAskedFor

    def get_prep_value(self, value: Any) -> Any:
        return _fernet().encrypt(value.encode()).decode() if value else value

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        return _Token(value) if value else value
