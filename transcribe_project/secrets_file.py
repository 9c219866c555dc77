"""Secrets that the project makes for itself and keeps below DATA_DIR, readable by their owner alone."""

import os
import secrets
from pathlib import Path


def kept_secret(path: Path, length: int = 50) -> str:
    """The secret kept at `path`, made at the first call.

    Several processes may start at once on a new machine: the first to link its file wins, the others read it.
    """
    if not path.exists():
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(length))
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text().strip()
