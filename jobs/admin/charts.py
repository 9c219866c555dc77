"""Charts as shapes: stacked bars, to be drawn as SVG by a template. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 300.0, 72.0
GAP = 2.0


@dataclass(frozen=True, slots=True)
class Piece:
    kind: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Bars:
    """`totals` are those of each kind over all bars; `most` is the highest bar's."""

    pieces: list[Piece]
    totals: dict[str, int]
    most: int

    @property
    def total(self) -> int:
        return sum(self.totals.values())


def stacked(columns: Sequence[Mapping[str, int]], kinds: Iterable[str]) -> Bars:
    """A bar for each column, with a piece for each kind that it has some of, the first at the bottom."""
    kinds = list(kinds)
    most = max((sum(column.get(kind, 0) for kind in kinds) for column in columns), default=0)
    step = WIDTH / max(len(columns), 1)
    pieces = []
    for place, column in enumerate(columns):
        top = HEIGHT
        for kind in kinds:
            if count := column.get(kind, 0):
                height = count / most * HEIGHT
                top -= height
                x = round(place * step, 2)
                pieces.append(Piece(kind, x, round(top, 2), step - GAP, round(height, 2)))
    totals = {kind: sum(column.get(kind, 0) for column in columns) for kind in kinds}
    return Bars(pieces, totals, most)
