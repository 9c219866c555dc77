"""What a process remembers of regions, providers and the store: forgotten between tests."""

from jobs.placing import _room
from routing import coordination, limits
from routing.breaker import breaker_of
from routing.health import reports
from routing.regions import all_regions


def forget() -> None:
    """As in a process that begins, so that the next to ask is told anew."""
    # First, since places held are renewed by a thread of its own, at the store they were taken from.
    limits.forget()
    if coordination.store.cache_info().currsize:
        # What is let go of is closed, or the garbage collector complains in a later test.
        client = getattr(getattr(coordination.store(), "_store", None), "_client", None)
        client = getattr(client, "_client", client)
        if client is not None:
            client.close()
    for remembered in (all_regions, reports, breaker_of, coordination.store, _room):
        remembered.cache_clear()
