"""Which fault a request or a live connection gets. Pure; misbehaviour.py and live/ carry it out.

A fault is written `kind=value;argument=value`, in the header `x-sandbox-fault` or the parameter
`sandbox_fault` of one request, or in a rule of the standing schedule. docs/sandbox.md has the table.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

STATUS, LATENCY, HANG, HALF_OPEN, DRIP, RESET = "status", "latency", "hang", "half_open", "drip", "reset"
TRUNCATED, NOT_JSON, EMPTY = "truncated", "not_json", "empty"
CALLBACK_LATE, CALLBACK_COPIES = "callback_late", "callback_copies"
REFUSE, CONNECT_LATE, DROP, CLOSE, STALL = "refuse", "connect_late", "drop", "close", "stall"
MUTE, LAG = "mute", "lag"
LIVE = frozenset([REFUSE, CONNECT_LATE, DROP, CLOSE, STALL, MUTE, LAG])
"""Kinds for live connections; all others are for requests."""

ARGUMENTS = {
    STATUS: {"retry_after", "at", "body"},
    LATENCY: set(),
    HANG: set(),
    HALF_OPEN: {"after"},
    DRIP: {"part"},
    RESET: {"after"},
    TRUNCATED: set(),
    NOT_JSON: set(),
    EMPTY: set(),
    CALLBACK_LATE: set(),
    CALLBACK_COPIES: set(),
    REFUSE: {"retry_after", "body"},
    CONNECT_LATE: set(),
    DROP: {"of"},
    CLOSE: {"of", "after"},
    STALL: {"of"},
    MUTE: {"of"},
    LAG: set(),
}
NUMBERS = {
    LATENCY: None,
    DRIP: 1.0,
    CALLBACK_LATE: None,
    CALLBACK_COPIES: 2.0,
    CONNECT_LATE: None,
    DROP: None,
    STALL: None,
    MUTE: None,
    LAG: None,
}
"""Kinds whose value is a number, and what it is when left out (None: it must be given)."""
WITH_STATUS = (STATUS, REFUSE)
CLOSES = {"net0000": 1011, "net0001": 1011, "data0000": 1008}
"""Closes that Deepgram documents, by the name in their reason."""
RESET_MOMENTS = ("upload", "request", "answer")
MAX_SECONDS = 3600.0
RULE_FIELDS = {
    "fault": str,
    "path": str,
    "tag": str,
    "first": int,
    "every": int,
    "share": int | float,
    "seed": int,
}


class BadFault(ValueError):
    """A fault or rule that cannot be read; the message says what is wrong."""


@dataclass(frozen=True)
class Fault:
    kind: str
    number: float = 0.0
    """Seconds of a latency, a drip (per byte) or a lateness, or until it begins; the copies of a callback."""
    spread: float = 0.0
    """Up to so many seconds more, drawn for each connection."""
    of: str = "audio"
    """Whether `number` counts seconds of audio or, with `wall`, of time."""
    status: int = 0
    """Or the code of a close."""
    retry_after: str | None = None
    body: str | None = None
    at: str = ""
    """When: `head` or `body` for a status (answer before or after reading the body), `upload`, `request` or
    `answer` for a reset, `head` or `body` for a drip (the part that drips first)."""
    after: int = 1
    """Bytes of the upload read before a reset or a half-open connection."""

    def drawn(self, rng: random.Random) -> "Fault":
        return replace(self, number=self.number + rng.random() * self.spread, spread=0.0)


def parse(text: str) -> Fault:
    """Raises BadFault. `body=` comes last and takes the rest of the text, semicolons included."""
    text, has_body, rest_of_text = text.partition(";body=")
    head, *rest = text.split(";")
    kind, _, value = (part.strip() for part in head.partition("="))
    if kind not in ARGUMENTS:
        raise BadFault(f"unknown fault {kind!r}; known: {', '.join(ARGUMENTS)}")
    arguments = dict(part.strip().split("=", 1) for part in rest if "=" in part)
    unknown = set(arguments) - ARGUMENTS[kind] | ({"body"} if has_body and kind not in WITH_STATUS else set())
    if unknown or len(arguments) != len(rest):
        raise BadFault(f"{kind} takes {sorted(ARGUMENTS[kind])}, not {rest or unknown}")

    number, spread = 0.0, 0.0
    if kind in NUMBERS:
        number, spread = _range(kind, value)
    elif kind == CLOSE:
        number, spread = _range(kind, arguments.pop("after", "0"))
    of = arguments.get("of", "audio")
    if of not in ("audio", "wall"):
        raise BadFault(f"of={of!r}: audio or wall is needed")
    at = arguments.get("at", "body")
    if kind == DRIP:
        at = arguments.get("part", "body")
    if kind == RESET:
        at = value or "request"
    if at not in (RESET_MOMENTS if kind == RESET else ("head", "body")):
        raise BadFault(f"{at!r} is no moment of {kind}")
    body = rest_of_text if has_body else None
    status = 0
    if kind in WITH_STATUS:
        status = _integer(value, 200, 599)
    elif kind == CLOSE:
        body = value
        status = CLOSES.get(value) or _integer(value, 1000, 4999)
    return Fault(
        kind,
        number=number,
        spread=spread,
        of=of,
        status=status,
        retry_after=arguments.get("retry_after"),
        body=body,
        at=at,
        after=_integer(arguments.get("after", "1"), 0, 1 << 40),
    )


def _range(kind: str, value: str) -> tuple[float, float]:
    """`5`, or `5..35` for a number drawn from there: the least, and how much it may be more."""
    low, _, high = value.partition("..")
    number = _number(kind, low)
    return number, max(0.0, _number(kind, high) - number) if high else 0.0


def _number(kind: str, value: str) -> float:
    default = NUMBERS.get(kind)
    try:
        number = float(value) if value or default is None else default
    except ValueError:
        number = -1.0
    if not 0 <= number <= MAX_SECONDS:
        raise BadFault(f"{kind}={value!r}: a number from 0 to {MAX_SECONDS:g} is needed")
    return number


def _integer(value: str, low: int, high: int) -> int:
    if not value.isdecimal() or not low <= int(value) <= high:
        raise BadFault(f"{value!r}: a whole number from {low} to {high} is needed")
    return int(value)


@dataclass
class Rule:
    """Which of the requests that it matches get the fault: the first n, every nth, a share, or all."""

    text: str
    fault: Fault
    path: str = "/v1/listen"
    tag: str | None = None
    first: int | None = None
    every: int | None = None
    share: float | None = None
    seed: int = 0
    matched: int = 0
    applied: int = 0
    _random: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311 - it has to repeat itself

    @classmethod
    def read(cls, content: Any) -> "Rule":
        """From `{"fault", "path"?, "tag"?, "first"? | "every"? | "share"?, "seed"?}`. Raises BadFault."""
        if not isinstance(content, dict) or not isinstance(content.get("fault"), str):
            raise BadFault("a rule is an object with a fault")
        for name, value in content.items():
            if name not in RULE_FIELDS or isinstance(value, bool) or not isinstance(value, RULE_FIELDS[name]):
                raise BadFault(f"a rule has no such {name!r}: {value!r}")
        if len({"first", "every", "share"} & set(content)) > 1:
            raise BadFault("a rule has one of first, every and share")
        if content.get("every", 1) < 1:
            raise BadFault("every: at least 1")
        rest = {name: value for name, value in content.items() if name != "fault"}
        return cls(content["fault"], parse(content["fault"]), **rest)

    def applies(self, path: str, tags: Sequence[str], *, live: bool) -> bool:
        """Counts the request if it matches, and says whether it gets the fault."""
        if path != self.path or (self.tag is not None and self.tag not in tags):
            return False
        if live != (self.fault.kind in LIVE):
            return False
        self.matched += 1
        applies = True
        if self.first is not None:
            applies = self.matched <= self.first
        elif self.every is not None:
            applies = self.matched % self.every == 0
        elif self.share is not None:
            applies = self._random.random() < self.share
        self.applied += applies
        return applies

    def draw(self) -> Fault:
        return self.fault.drawn(self._random)

    def as_json(self) -> dict[str, Any]:
        fields = {"path": self.path, "tag": self.tag, "first": self.first, "every": self.every}
        counts = {"matched": self.matched, "applied": self.applied}
        return {"fault": self.text, **fields, "share": self.share, "seed": self.seed, **counts}


class Schedule:
    """The standing rules. The first one that applies decides; those behind it do not see the request."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []

    def replace(self, content: Any) -> None:
        """From a list of rules; counting starts anew. Raises BadFault and keeps the old ones."""
        if not isinstance(content, list):
            raise BadFault("a list of rules is needed")
        self.rules = [Rule.read(rule) for rule in content]

    def fault_for(self, path: str, tags: Sequence[str], *, live: bool = False) -> Fault | None:
        for rule in self.rules:
            if rule.applies(path, tags, live=live):
                return rule.draw()
        return None
