"""The codes of refusals: whatever the code can answer is documented."""

import ast
import re
from collections.abc import Iterator

from jobs.api import errors, urls  # noqa: F401 (with all that refuses)
from jobs.refusal import Refusal
from tests.environment import ROOT

API = ROOT / "docs" / "api.md"
CODE = re.compile(r"[a-z]+(_[a-z]+)*")


def kinds(base=Refusal):
    """The names of all kinds of refusals."""
    yield base.__name__
    for kind in base.__subclasses__():
        yield from kinds(kind)


def codes_in(module: ast.Module, refusals: set[str]) -> Iterator[str]:
    """First of two texts that make a refusal; second of `answer(status, code, …)`; a `default_code`."""
    for node in ast.walk(module):
        match node:
            case ast.Call(func=ast.Name(id=name), args=[ast.Constant(value=str(code)), _]) if (
                name in refusals
            ):
                yield code
            case ast.Call(func=ast.Attribute(attr="__init__"), args=[*_, ast.Constant(value=str(code)), _]):
                yield code
            case ast.Call(func=ast.Name(id="answer"), args=[_, ast.Constant(value=str(code)), *_]):
                yield code
            case ast.Call(func=ast.Name(id="envelope"), args=[ast.Constant(value=str(code)), _]):
                yield code
            case ast.Assign(targets=[ast.Name(id="default_code")], value=ast.Constant(value=str(code))):
                yield code


def test_every_code_of_a_refusal_is_documented():
    refusals = set(kinds())
    found = {
        code
        for path in (ROOT / "jobs").rglob("*.py")
        for code in codes_in(ast.parse(path.read_text()), refusals)
        if CODE.fullmatch(code)
    }
    table = API.read_text().partition("## Refusals")[2]
    told = [table, *((API.parent / name).read_text() for name in re.findall(r"\]\((\w+\.md)", table))]
    documented = set(re.findall(r"`([a-z_]+)`", "\n".join(told)))

    assert len(found) > 40, "few were found: has the way they are made changed?"
    assert found - documented == set()
