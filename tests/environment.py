"""The environment that the settings are read from, made for tests.

It holds nothing of the developer's own: a key for Deepgram in the shell must not turn a test into a bill.
"""

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = ROOT / "transcribe_project" / "settings.py"


def prepare(database_url: str, data_dir: str) -> None:
    """Make this process's environment, and its children's, that of a test. Call before Django loads."""
    for name in names_read(SETTINGS):
        os.environ.pop(name, None)
    os.environ["DATABASE_URL"] = database_url
    os.environ["DATA_DIR"] = data_dir
    # Workers of one machine cannot all have the same.
    os.environ["WORKER_PORT"] = "0"
    os.environ["DJANGO_SETTINGS_MODULE"] = "transcribe_project.settings"


def names_read(module: Path) -> set[str]:
    """The environment variables which `module`, a Python file, reads by a literal name.

    Seen are `env.str("NAME")` and its like, `os.environ.get("NAME")`, `os.environ["NAME"]` and
    `os.getenv("NAME")`.
    """
    return set(_names_read(ast.parse(module.read_text())))


def _names_read(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute() as method, args=[ast.Constant(value=str(name)), *_]):
                source = ast.unparse(method)
                asks = source in {"os.environ.get", "environ.get", "os.getenv"}
                if asks or re.fullmatch(r"env\.\w+", source):
                    yield name
            case ast.Subscript(value=mapping, slice=ast.Constant(value=str(name)), ctx=ast.Load()):
                if ast.unparse(mapping) in {"env", "os.environ", "environ"}:
                    yield name
