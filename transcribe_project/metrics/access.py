"""Who may read metrics: they tell how much business there is, which is nobody else's affair.

With METRICS_TOKEN set, whoever sends it (Prometheus: `authorization` of a scrape config). Without, who asks
from a private or loopback address, directly: what a proxy passes on may come from anywhere, whatever address
it comes from in the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from hmac import compare_digest
from ipaddress import IPv6Address, ip_address

from django.conf import settings

from jobs.refusal import Refusal

FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


class TokenMissing(Refusal):
    status = 401

    def __init__(self) -> None:
        super().__init__("not_authenticated", "Send METRICS_TOKEN: Authorization: Bearer ….")


class NotNear(Refusal):
    status = 403

    def __init__(self) -> None:
        message = "Ask from a private address and not by a proxy, or have METRICS_TOKEN set and send it."
        super().__init__("permission_denied", message)


def check_reader(address: str, headers: Mapping[str, str]) -> None:
    """TokenMissing or NotNear unless metrics may be read from `address` with these headers, of any case."""
    if settings.METRICS_TOKEN:
        said = headers.get("authorization", "")
        if not compare_digest(said.encode(), f"Bearer {settings.METRICS_TOKEN}".encode()):
            raise TokenMissing
    elif not is_near(address) or any(name in headers for name in FORWARDED):
        raise NotNear


def is_near(address: str) -> bool:
    """Whether it is a private or loopback address; what is no address is not."""
    try:
        found = ip_address(address)
    except ValueError:
        return False
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return found.is_private
