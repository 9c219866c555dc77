"""Deepgram's options on the command line."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from jobs.transcripts.options import InvalidOptions, validate


def add_options(parser: CommandParser) -> None:
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="One of Deepgram's options, for example language=de. Can be repeated.",
    )


def options_of(pairs: list[str]) -> dict[str, Any]:
    """The options that were given, valid; CommandError with what is wrong with them."""
    given: dict[str, Any] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        given.setdefault(name, []).append(value)
    try:
        return validate({name: values if len(values) > 1 else values[0] for name, values in given.items()})
    except InvalidOptions as error:
        wrong = (f"{name}: {message}" for name, message in error.errors.items())
        raise CommandError("\n".join(wrong)) from None
