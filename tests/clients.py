"""HTTP clients that the product makes once and keeps."""

from collections.abc import Callable

import httpx


def forget(client: Callable[..., httpx.Client], *arguments: object) -> None:
    """Close what the cached function gave for these arguments; it makes another when it is asked again."""
    client(*arguments).close()
    client.cache_clear()  # type: ignore[attr-defined]
