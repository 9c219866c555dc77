"""What transcribing costs, by the price table of the settings."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

from django.conf import settings

CENT_OF_A_CENT = Decimal("0.0001")


def cost_of(seconds: float, model: str | None) -> Decimal | None:
    """The cost of so many seconds of audio with this model; None if it has no price.

    PRICES are per minute, by model; "default" is that of all others.
    """
    price: Decimal | None = settings.PRICES.get(model or "", settings.PRICES.get("default"))
    if price is None:
        return None
    return (price * Decimal(str(seconds)) / 60).quantize(CENT_OF_A_CENT, ROUND_HALF_UP)
