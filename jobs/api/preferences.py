"""What a client prefers: the Prefer header of RFC 7240, as far as a submission can honour it."""

from __future__ import annotations

import re
from dataclasses import dataclass

# RFC 7240, section 2: a token, perhaps a value (a token or quoted), perhaps parameters, which we skip.
_PREFERENCE = re.compile(r'\s*([!#$%&\'*+.^`|~\w-]+)\s*(?:=\s*("[^"]*"|[^\s;,"]*))?[^,]*')


@dataclass(frozen=True, slots=True)
class Preferences:
    """`wait` is in seconds. What makes no sense is as if it had not been said (section 2)."""

    respond_async: bool = False
    wait: int | None = None


def parse_prefer(header: str) -> Preferences:
    said: dict[str, str] = {}
    for name, value in _PREFERENCE.findall(header):
        # The first of several of one name holds (section 2).
        said.setdefault(name.lower(), value.strip('"'))
    wait = said.get("wait", "")
    return Preferences("respond-async" in said, int(wait) if re.fullmatch(r"[0-9]{1,6}", wait) else None)
