"""System checks: settings that contradict each other are told at the start, not by what goes wrong later."""

from __future__ import annotations

from typing import Any

from cryptography.fernet import Fernet
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

REGION_FIELDS = {"name", "base_url", "api_key", "queue", "max_attempts"}


@register
def leases_outlive_heartbeats(**_: Any) -> list[CheckMessage]:
    """Two heartbeats may be missed before a lease runs out."""
    if settings.HEARTBEAT_SECONDS * 3 > settings.LEASE_SECONDS:
        return [
            Error(
                f"HEARTBEAT_SECONDS ({settings.HEARTBEAT_SECONDS:g}) is more than a third of LEASE_SECONDS "
                f"({settings.LEASE_SECONDS:g}): one late heartbeat would cost a worker its jobs.",
                hint="Leave HEARTBEAT_SECONDS unset; it is a quarter of the lease.",
                id="transcribe.E001",
            )
        ]
    return []


@register
def regions_are_described(**_: Any) -> list[CheckMessage]:
    """REGIONS is a JSON list of objects with a name of their own and known fields."""
    if not isinstance(settings.REGIONS, list) or not all(
        isinstance(row, dict) and isinstance(row.get("name"), str) for row in settings.REGIONS
    ):
        return [Error("REGIONS must be a JSON list of objects, each with a name.", id="transcribe.E002")]
    names = [row["name"] for row in settings.REGIONS]
    found: list[CheckMessage] = []
    if len(set(names)) != len(names):
        found.append(Error("REGIONS names a region twice.", id="transcribe.E003"))
    for row in settings.REGIONS:
        if unknown := sorted(set(row) - REGION_FIELDS):
            found.append(
                Error(
                    f"Region {row['name']} has unknown fields: {', '.join(unknown)}.",
                    hint=f"Known are {', '.join(sorted(REGION_FIELDS))}.",
                    id="transcribe.E004",
                )
            )
    return found


@register
def thresholds_are_in_order(**_: Any) -> list[CheckMessage]:
    if settings.SYNC_MAX_SECONDS > settings.ASYNC_MIN_SECONDS:
        return [Error("SYNC_MAX_SECONDS is more than ASYNC_MIN_SECONDS.", id="transcribe.E005")]
    return []


@register
def encryption_keys_are_keys(**_: Any) -> list[CheckMessage]:
    try:
        for key in settings.ENCRYPTION_KEYS:
            Fernet(key)
    except ValueError:
        return [
            Error(
                "ENCRYPTION_KEYS holds something that is no Fernet key.",
                hint="Make one with: openssl rand -base64 32 | tr +/ -_",
                id="transcribe.E006",
            )
        ]
    return []


@register(Tags.security, deploy=True)
def production_is_meant(**_: Any) -> list[CheckMessage]:
    """What is right on one machine and wrong on several."""
    found: list[CheckMessage] = []
    if settings.USES_SANDBOX:
        found.append(
            Warning(
                "No DEEPGRAM_API_KEY is set: recordings go to a sandbox on this machine.",
                id="transcribe.W001",
            )
        )
    if not settings.EMBEDDED and settings.DATABASES["default"]["ENGINE"].endswith("sqlite3"):
        found.append(
            Warning(
                "REDIS_URL is set but DATABASE_URL is not: SQLite serves one machine only.",
                id="transcribe.W002",
            )
        )
    return found


@register(Tags.security, deploy=True)
def production_is_protected(**_: Any) -> list[CheckMessage]:
    """What nobody would notice until it is made use of."""
    found: list[CheckMessage] = []

    def warn(number: int, message: str, hint: str) -> None:
        found.append(Warning(message, hint=hint, id=f"transcribe.W{number:03}"))

    if "*" in settings.ALLOWED_HOSTS:
        warn(
            3,
            "ALLOWED_HOSTS takes any name: links are made of whatever a request calls us.",
            "List the names that the service is reached by.",
        )
    if settings.EMBEDDED:
        return found
    if settings.SECRET_KEY_IS_GENERATED:
        warn(
            4,
            "SECRET_KEY is one that this host made for itself: others cannot read its sessions and secrets.",
            "Set SECRET_KEY, to the same on every host.",
        )
    if not settings.ENCRYPTION_KEYS:
        warn(
            5,
            "ENCRYPTION_KEYS is not set: whoever learns SECRET_KEY can open the secrets of the database.",
            "Set it to a key of its own, then run manage.py rotate_encryption_keys.",
        )
    for name in ("WEBHOOK_ALLOW_PRIVATE", "FETCH_ALLOW_PRIVATE"):
        if getattr(settings, name):
            warn(
                6,
                f"{name} is on: whoever may submit a job can have us call the machines around us.",
                "Leave it off unless every one of them may be called.",
            )
    if "*" in settings.TRUSTED_PROXIES:
        warn(
            7,
            "TRUSTED_PROXIES trusts everybody: a client can choose the address that it seems to come from.",
            "List the addresses of your proxies.",
        )
    return found
