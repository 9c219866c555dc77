"""The environment that the settings are read from: what is wrong in it is told with the setting's name."""

from __future__ import annotations

import json
import logging
import math
import os
import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured

_WANTED = {int: "a whole number, 0 or more", float: "a number, 0 or more", json.loads: "JSON"}


class Environment(environ.Env):  # type: ignore[misc]  # without types
    """ImproperlyConfigured for what cannot be read, without the value, which may be secret."""

    def get_value(
        self, var: str, cast: Any = None, default: Any = environ.Env.NOTSET, parse_default: bool = False
    ) -> Any:
        try:
            value = super().get_value(var, cast, default, parse_default)
            if cast in (int, float) and not 0 <= value < math.inf:
                raise ValueError
        except ValueError:
            raise ImproperlyConfigured(f"{var} must be {_WANTED.get(cast, 'something else')}.") from None
        return value

    def share(self, var: str, default: float) -> float:
        """Of a whole."""
        value = self.float(var, default=default)
        if not 0 < value <= 1:
            raise ImproperlyConfigured(f"{var} must be a number above 0, and 1 at most.")
        return float(value)

    def days(self, var: str) -> int | None:
        text = self.str(var, default="")
        if not text:
            return None
        if not re.fullmatch("[0-9]{1,5}", text):
            raise ImproperlyConfigured(f"{var} must be a number of days, or be left out.")
        return int(text)

    def json_object(self, var: str) -> dict[str, Any]:
        value = self.json(var, default={})
        if not isinstance(value, dict):
            raise ImproperlyConfigured(f"{var} must be a JSON object.")
        return value

    def prices(self, var: str) -> dict[str, Decimal]:
        try:
            found = {name: Decimal(str(price)) for name, price in self.json_object(var).items()}
            if not all(0 <= price < math.inf for price in found.values()):
                raise ArithmeticError
        except ArithmeticError:
            raise ImproperlyConfigured(f"{var} must be a JSON object of numbers, 0 or more.") from None
        return found

    def json_named(self, var: str) -> list[dict[str, Any]]:
        """A list of objects, each with a name."""
        value = self.json(var, default=[])
        if not isinstance(value, list) or not all(
            isinstance(row, dict) and isinstance(row.get("name"), str) for row in value
        ):
            raise ImproperlyConfigured(f"{var} must be a JSON list of objects, each with a name.")
        return value

    def directory(self, var: str, default: Path) -> Path:
        """Made, for its owner alone, if it is not there."""
        path = Path(self.str(var, default=str(default))).resolve()
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ImproperlyConfigured(f"{var} cannot be made at {path}: {error.strerror}.") from None
        if not os.access(path, os.W_OK | os.X_OK):
            raise ImproperlyConfigured(f"{var} must be writable for whoever runs this; {path} is not.")
        return path

    def database_at(self, url: str) -> dict[str, Any]:
        """Django's description of the database at `url`, as DATABASE_URL has it."""
        try:
            if urlsplit(url).scheme in ("sqlite", "postgres", "postgresql"):
                return dict(self.db_url_config(url))
        except ValueError:
            pass
        raise ImproperlyConfigured("DATABASE_URL must look like postgres://user:password@host:5432/name.")

    def redis_at(self, var: str) -> str:
        """Of a Redis; empty if there is none."""
        url = str(self.str(var, default=""))
        if url and not _has_host(url, ("redis", "rediss")):
            raise ImproperlyConfigured(f"{var} must look like redis://:password@host:6379/0.")
        return url

    def redis_nodes(self, var: str) -> list[str]:
        """Some of a Redis Cluster's; none if there is none."""
        urls = [str(url) for url in self.list(var, default=[])]
        if not all(_has_host(url, ("redis", "rediss")) for url in urls):
            raise ImproperlyConfigured(f"{var} must look like redis://:password@host:6379,redis://….")
        return urls

    def address(self, var: str, default: str) -> str:
        """An http or https one, without a slash at its end."""
        url = str(self.str(var, default=default))
        if not _has_host(url, ("http", "https")):
            raise ImproperlyConfigured(f"{var} must look like https://host.")
        return url.rstrip("/")

    def mail_at(self, var: str) -> dict[str, Any]:
        """Django's settings for the mail server there; without one mail goes nowhere."""
        try:
            return dict(self.email_url(var, default="dummymail://"))
        except (ValueError, ImproperlyConfigured):
            raise ImproperlyConfigured(f"{var} must look like smtp+tls://user:password@host:587.") from None

    def one_of(self, var: str, values: Sequence[str], default: str) -> str:
        value = str(self.str(var, default=default))
        if value not in values:
            raise ImproperlyConfigured(f"{var} must be {' or '.join(values)}.")
        return value

    def log_level(self, var: str) -> str:
        level = str(self.str(var, default="INFO"))
        if level not in logging.getLevelNamesMapping():
            raise ImproperlyConfigured(f"{var} must be DEBUG, INFO, WARNING or ERROR.")
        return level

    def fernet_keys(self, var: str) -> list[str]:
        keys = [str(key) for key in self.list(var, default=[])]
        try:
            for key in keys:
                Fernet(key)
        except ValueError:
            make = "make one with: openssl rand -base64 32 | tr +/ -_"
            raise ImproperlyConfigured(f"{var} holds something that is no Fernet key; {make}") from None
        return keys


def _has_host(url: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
