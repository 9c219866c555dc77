"""Choosing the mode of a job: while the caller waits (sync), or by the queue (async). A pure function."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

Mode = Literal["sync", "async"]
RequestedMode = Literal["auto", "sync", "async"]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Seconds. Audio under `sync_max` runs sync, over `async_min` async; between, it depends."""

    sync_max: float = 60.0
    async_min: float = 300.0

    def leave_open(self, duration: float | None) -> bool:
        """Whether more than the duration is needed to choose."""
        return duration is not None and self.sync_max <= duration <= self.async_min


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the choice depends on.

    `duration`: seconds of audio as measured, None if unknown (a remote URL). `estimate`: seconds that
    transcribing it should take, by recent speed. `patience`: seconds that the caller waits at most.
    `slot_free`: a sync slot of this process is free, the region is not left alone and its provider has room.
    `respond_async`: the caller prefers not to wait (RFC 7240, `Prefer: respond-async`). `low_priority`: the
    job is for idle capacity, which only the queue knows of.
    """

    requested: RequestedMode
    duration: float | None
    estimate: float | None
    patience: float
    slot_free: bool
    respond_async: bool = False
    low_priority: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """The mode, the rule that chose it in a word, and the same in a sentence."""

    mode: Mode
    rule: str
    reason: str
    alternatives: tuple[str, ...] = ()


def choose_mode(given: Conditions, thresholds: Thresholds) -> Choice:
    """The mode of a job; every rule in the order in which it is asked."""
    if given.requested == "sync" and not given.slot_free:
        return Choice(
            "async",
            "no_slot",
            "No call could be made for a waiting caller in time, so it went to the queue.",
            ("sync",),
        )
    if given.requested != "auto":
        return Choice(given.requested, "requested", f"{given.requested} was asked for.")
    if given.respond_async:
        return Choice("async", "prefer", "The caller prefers not to wait (Prefer: respond-async).")
    if given.low_priority:
        return Choice("async", "low_priority", "A job of low priority is for capacity that would be idle.")
    if given.duration is None:
        return Choice(
            "async", "unknown_duration", "How long the audio is cannot be known before it is fetched."
        )
    if given.duration > thresholds.async_min:
        return Choice("async", "long", f"{given.duration:.1f} s is over {thresholds.async_min:g} s.")
    if not given.slot_free:
        return Choice(
            "async",
            "no_slot",
            "No call can be made for a waiting caller now, so it goes to the queue.",
            ("sync",),
        )
    if given.duration < thresholds.sync_max:
        return Choice(
            "sync", "short", f"{given.duration:.1f} s is under {thresholds.sync_max:g} s.", ("async",)
        )
    if given.estimate is None:
        return Choice("async", "no_estimate", "How long it would take is not known yet.", ("sync",))
    if given.estimate <= given.patience:
        return Choice(
            "sync",
            "fits_patience",
            f"It should take {given.estimate:.1f} s, and the caller waits {given.patience:g} s.",
            ("async",),
        )
    return Choice(
        "async",
        "exceeds_patience",
        f"It should take {given.estimate:.1f} s, and the caller waits {given.patience:g} s at most.",
        ("sync",),
    )


def receipt(given: Conditions, choice: Choice, region: str, region_reason: str) -> dict[str, object]:
    """What is stored with the job and shown: the choice, what it was made on, and what else was possible."""
    fields = asdict(given)
    return {
        "requested_mode": fields.pop("requested"),
        **fields,
        "mode": choice.mode,
        "rule": choice.rule,
        "reason": choice.reason,
        "alternatives": list(choice.alternatives),
        "region": region,
        "region_reason": region_reason,
    }


def conditions_of(kept: Mapping[str, Any]) -> Conditions:
    """What the choice of a receipt was made on."""
    named = {each.name: kept[each.name] for each in fields(Conditions) if each.name in kept}
    return Conditions(requested=kept["requested_mode"], **named)
