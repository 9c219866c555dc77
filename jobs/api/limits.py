"""How answers tell of limits: the fields of draft-ietf-httpapi-ratelimit-headers-10, and Retry-After."""

from __future__ import annotations

from jobs.models.key import Allowance
from jobs.quotas import QuotaExceeded


def rate_limit(allowance: Allowance, wait: int | None = None) -> dict[str, str]:
    """The headers; `wait`: seconds until there is a request again, for a refusal."""
    headers = {
        "RateLimit-Policy": f'"requests";q={allowance.limit};w=60',
        "RateLimit": f'"requests";r={allowance.remaining};t={allowance.full_in}',
    }
    return headers if wait is None else {**headers, "Retry-After": str(wait)}


def open_jobs_limit(limit: int, wait: int) -> dict[str, str]:
    """The headers of a refusal; when one ends is not known, so `wait` is a suggestion."""
    return {
        "RateLimit-Policy": f'"open-jobs";q={limit}',
        "RateLimit": '"open-jobs";r=0',
        "Retry-After": str(wait),
    }


def audio_quota(refused: QuotaExceeded) -> dict[str, str]:
    """The headers of a refusal, in seconds of audio and a day of UTC."""
    left = max(0, int(refused.quota.allowed - refused.quota.used))
    return {
        "RateLimit-Policy": f'"audio-seconds";q={refused.quota.allowed:.0f};w=86400',
        "RateLimit": f'"audio-seconds";r={left};t={refused.retry_after}',
        "Retry-After": str(refused.retry_after),
    }
