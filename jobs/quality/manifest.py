"""What is said in which recording: a manifest as people write it, or as NeMo does. Pure but for the file.

JSON Lines, an object on each line, or all of them in one JSON array. An object has

    file                 (or audio_filepath, audio, url) a path relative to the manifest, or an http(s) URL
    text                 what is said, in full
    language, tags       as they are sent along and counted apart; optional
    duration             seconds; optional, and believed of URLs alone

and whatever else, which is left alone. NeMo's `offset` is refused unless it is 0: whole files are sent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeGuard

AUDIO = ("file", "audio_filepath", "audio", "url")
LONGEST_SOURCE, LONGEST_LANGUAGE = 1000, 20


class ManifestError(ValueError):
    """Nothing can be sent; `wrong` has a line for everything that is."""

    def __init__(self, wrong: list[str]) -> None:
        super().__init__("\n".join(wrong))
        self.wrong = wrong


@dataclass(frozen=True, slots=True)
class Entry:
    """`source` is the audio as the manifest names it, `path` the file that this is, None for a URL.

    `place` tells people where it stands: "line 3". `seconds` is None if nobody knows.
    """

    place: str
    source: str
    path: Path | None
    text: str
    language: str = ""
    tags: tuple[str, ...] = ()
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """`digest` tells it from others, and from what it was before somebody edited it."""

    name: str
    digest: str
    entries: list[Entry]


def read(path: Path) -> Manifest:
    """ManifestError with all that is wrong and where; OSError if the file itself cannot be read."""
    content = path.read_bytes()
    wrong: list[str] = []
    entries: list[Entry] = []
    seen: dict[Path | str, str] = {}
    for place, item in _items(content):
        try:
            entry = _entry(place, item, path.parent)
            audio = entry.path.resolve() if entry.path else entry.source
            if audio in seen:
                raise ValueError(f"{entry.source} is on {seen[audio]} already")
        except ValueError as error:
            wrong.append(f"{place}: {error}")
        else:
            seen[audio] = place
            entries.append(entry)
    if wrong or not entries:
        raise ManifestError(wrong or ["The manifest names no recordings."])
    return Manifest(path.name, sha256(content).hexdigest(), entries)


def _items(content: bytes) -> Iterator[tuple[str, Any]]:
    """Each item and its place; an exception in place of one that cannot be read."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ManifestError(["The manifest is not in UTF-8."]) from None
    if text.lstrip().startswith("["):
        try:
            items = json.loads(text)
        except ValueError as error:
            raise ManifestError([f"The manifest is no JSON array: {error}"]) from None
        yield from ((f"item {number}", item) for number, item in enumerate(items, 1))
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                item = json.loads(line)
            except ValueError as error:
                item = error
            yield f"line {number}", item


def _entry(place: str, item: Any, folder: Path) -> Entry:
    """ValueError with what is wrong."""
    if isinstance(item, ValueError):
        raise ValueError(f"it is no JSON: {item}")
    if not isinstance(item, dict):
        raise ValueError("it is no JSON object")
    source, text = _source(item), item.get("text")
    if not _is_text(text):
        raise ValueError('"text" is missing: what is said, as a string')
    if item.get("offset"):
        raise ValueError('"offset" is not 0: whole files are sent; cut it out into one of its own')
    language, tags, seconds = item.get("language") or "", item.get("tags") or [], item.get("duration")
    if not _is_text(language) or len(language) > LONGEST_LANGUAGE:
        raise ValueError('"language" is no language tag')
    if not isinstance(tags, list) or not all(_is_text(tag) and tag for tag in tags):
        raise ValueError('"tags" is no list of strings')
    if seconds is not None and (not isinstance(seconds, int | float) or not 0 < seconds < 1e6):
        raise ValueError('"duration" is no number of seconds')
    path = None if source.startswith(("http://", "https://")) else folder / source
    if path is not None and not path.is_file():
        raise ValueError(f"there is no file {path}")
    return Entry(place, source, path, text, language, tuple(tags), seconds if path is None else None)


def _source(item: dict[str, Any]) -> str:
    named = [name for name in AUDIO if item.get(name)]
    if len(named) != 1:
        raise ValueError(f"one of {', '.join(AUDIO)} has to name the audio, and no more than one")
    source = item[named[0]]
    if not _is_text(source) or len(source) > LONGEST_SOURCE:
        raise ValueError(f'"{named[0]}" is no path and no URL')
    return source


def _is_text(value: Any) -> TypeGuard[str]:
    """A string that can be stored: PostgreSQL refuses NUL, and UTF-8 has no lone surrogates."""
    return isinstance(value, str) and not re.search(r"[\0\ud800-\udfff]", value)
