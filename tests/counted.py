"""By how much metrics of this process rise: others' tests have counted before."""

from __future__ import annotations

from prometheus_client import REGISTRY


class Rise:
    """From its making on: `by` tells how much. A series that is not there yet stands at 0."""

    def __init__(self, name: str, **labels: str) -> None:
        self._name, self._labels = name, labels
        self._before = self._now()

    @property
    def by(self) -> float:
        return self._now() - self._before

    def _now(self) -> float:
        return REGISTRY.get_sample_value(self._name, self._labels) or 0.0
