"""The environment that the settings are read from: what is wrong in it is told with the setting's name."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

_WANTED = {int: "a whole number", float: "a number", json.loads: "JSON"}


class Environment(environ.Env):  # type: ignore[misc]  # without types
    """ImproperlyConfigured for what cannot be read, without the value, which may be secret."""

    def get_value(
        self, var: str, cast: Any = None, default: Any = environ.Env.NOTSET, parse_default: bool = False
    ) -> Any:
        try:
            return super().get_value(var, cast, default, parse_default)
        except ValueError:
            raise ImproperlyConfigured(f"{var} must be {_WANTED.get(cast, 'something else')}.") from None

    def json_object(self, var: str) -> dict[str, Any]:
        value = self.json(var, default={})
        if not isinstance(value, dict):
            raise ImproperlyConfigured(f"{var} must be a JSON object.")
        return value

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
