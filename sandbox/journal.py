"""What the server was asked: for tests that assert how often a recording reached the provider.

Kept in memory until cleared; it grows by one counter per distinct recording and tag.
"""

import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sandbox.messages import Request

RECENT = 1000


class Journal:
    """Covers `/v1/listen`; of other paths only `by_path` tells."""

    def __init__(self) -> None:
        self.active = 0
        self.clear()

    def clear(self) -> None:
        self.total = 0
        self.peak = self.active
        self._by_path: Counter[str] = Counter()
        self._by_status: Counter[str] = Counter()
        self._by_sha256: Counter[str] = Counter()
        self._by_tag: Counter[str] = Counter()
        self._recent: deque[dict[str, Any]] = deque(maxlen=RECENT)

    @contextmanager
    def watch(self, request: Request) -> Iterator[dict[str, Any]]:
        """The entry of one request. The caller sets its `status`, or leaves it None when none was sent."""
        self._by_path[f"{request.method} {request.path}"] += 1
        entry: dict[str, Any] = {"id": request.id, "status": None}
        if request.path != "/v1/listen":
            yield entry
            return

        self.total += 1
        self.active += 1
        self.peak = max(self.peak, self.active)
        self._by_tag.update(request.tags)
        self._recent.append(entry)
        entry |= {
            "at": request.created.isoformat(),
            "method": request.method,
            "query": request.query,
            "content_type": request.headers.get("content-type"),
            "sha256": None,
            "size": None,
            "fault": None,
            "seconds": None,
        }
        begun = time.monotonic()
        try:
            yield entry
        finally:
            self.active -= 1
            entry |= {"sha256": request.sha256, "size": request.size}
            entry |= {"fault": request.fault and request.fault.kind, "seconds": time.monotonic() - begun}
            self._by_status[str(entry["status"])] += 1
            if request.sha256:
                self._by_sha256[request.sha256] += 1

    def as_json(self) -> dict[str, Any]:
        """`status` and the keys of `by_status` are null and "None" where a request got no answer (yet)."""
        return {
            "total": self.total,
            "active": self.active,
            "peak": self.peak,
            "by_path": self._by_path,
            "by_status": self._by_status,
            "by_sha256": self._by_sha256,
            "by_tag": self._by_tag,
            "recent": list(self._recent),
        }
