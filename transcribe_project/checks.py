"""System checks: settings that contradict each other are told at the start, not by what goes wrong later."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ValidationError
from django.http.request import split_domain_port, validate_host

from routing.regions import SEEDED_FIELDS, seed


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
    """The objects of REGIONS have a name of their own, and fields as the table has them."""
    names = [row["name"] for row in settings.REGIONS]
    found: list[CheckMessage] = []
    if len(set(names)) != len(names):
        found.append(Error("REGIONS names a region twice.", id="transcribe.E003"))
    for row in settings.REGIONS:
        if unknown := sorted(set(row) - SEEDED_FIELDS):
            found.append(
                Error(
                    f"Region {row['name']} has unknown fields: {', '.join(unknown)}.",
                    hint=f"Known are {', '.join(sorted(SEEDED_FIELDS))}.",
                    id="transcribe.E004",
                )
            )
            continue
        try:
            seed(row).clean_fields()
        except ValidationError as invalid:
            wrong = "; ".join(f"{name}: {' '.join(said)}" for name, said in invalid.message_dict.items())
            found.append(Error(f"Region {row['name']} in REGIONS: {wrong}", id="transcribe.E006"))
    return found


@register
def thresholds_are_in_order(**_: Any) -> list[CheckMessage]:
    if settings.SYNC_MAX_SECONDS > settings.ASYNC_MIN_SECONDS:
        return [Error("SYNC_MAX_SECONDS is more than ASYNC_MIN_SECONDS.", id="transcribe.E005")]
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
def public_url_is_answered(**_: Any) -> list[CheckMessage]:
    """What links lead to is a name that requests may come by, over TLS."""
    found: list[CheckMessage] = []
    url = urlsplit(settings.PUBLIC_URL)
    host = url.netloc.rpartition("@")[2]
    if not validate_host(split_domain_port(host)[0], settings.ALLOWED_HOSTS):
        found.append(
            Error(
                f"ALLOWED_HOSTS does not name {host}, which is in PUBLIC_URL: every request that comes by it "
                "is answered 400.",
                hint=f"ALLOWED_HOSTS={url.hostname}",
                id="transcribe.E007",
            )
        )
    if url.scheme != "https":
        found.append(
            Warning(
                f"PUBLIC_URL ({settings.PUBLIC_URL}) is not https: keys, passwords and recordings can be "
                "read on their way.",
                hint="Put a proxy with TLS in front and set PUBLIC_URL=https://…: cookies are bound to TLS "
                "then, plain HTTP is redirected, and HSTS is sent.",
                id="transcribe.W008",
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
