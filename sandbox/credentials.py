"""Who may call: API keys (`Token KEY`) and the short-lived tokens granted for them (`Bearer JWT`)."""

import base64
import hashlib
import hmac
import json
import secrets
import time
import uuid
from collections.abc import Collection

from sandbox import errors

REFUSED_KEY = "invalid"
"""Refused whatever keys are accepted, so that a client can try out its handling of 401."""

TOKEN_HEADER = {"alg": "HS256", "typ": "JWT"}
DEFAULT_TTL_SECONDS = 30
MAX_TTL_SECONDS = 3600


class Credentials:
    def __init__(self, keys: Collection[str]) -> None:
        """Accepts `keys`, or any key at all when there are none."""
        self._keys = frozenset(keys)
        self._secret = secrets.token_bytes(32)

    def key_id(self, authorization: str) -> str:
        """The identifier of the key in an Authorization header. Raises DeepgramError 401, 403 for a token."""
        scheme, credential = _split(authorization)
        if scheme == "bearer":
            self._token_key_id(credential)
            raise errors.insufficient_permissions()
        return self._api_key_id(scheme, credential)

    def key_or_token_id(self, authorization: str) -> str:
        """The identifier of the key that a header holds, or that its token was granted for. Raises 401."""
        scheme, credential = _split(authorization)
        if scheme == "bearer":
            return self._token_key_id(credential)
        return self._api_key_id(scheme, credential)

    def grant(self, key_id: str, ttl_seconds: float) -> str:
        now = time.time()
        claims = {"iat": int(now), "exp": now + ttl_seconds, "sub": key_id, "scp": ["usage::write"]}
        signed = ".".join(_encode(json.dumps(part).encode()) for part in (TOKEN_HEADER, claims))
        return f"{signed}.{_encode(self._signature(signed))}"

    def _api_key_id(self, scheme: str, key: str) -> str:
        if scheme != "token" or not key or key == REFUSED_KEY or (self._keys and key not in self._keys):
            raise errors.invalid_credentials()
        return str(uuid.uuid5(uuid.NAMESPACE_OID, key))

    def _token_key_id(self, token: str) -> str:
        signed, _, signature = token.rpartition(".")
        if not hmac.compare_digest(signature.encode(), _encode(self._signature(signed)).encode()):
            raise errors.invalid_credentials()
        claims = json.loads(_decode(signed.partition(".")[2]))
        if claims["exp"] <= time.time():
            raise errors.invalid_credentials()
        return str(claims["sub"])

    def _signature(self, signed: str) -> bytes:
        return hmac.digest(self._secret, signed.encode(), hashlib.sha256)


def ttl(content: object) -> float:
    """The seconds asked for in the body of a grant: nothing, `{}` or `{"ttl_seconds": n}`. Raises 400."""
    if content is None:
        return DEFAULT_TTL_SECONDS
    seconds = content.get("ttl_seconds", DEFAULT_TTL_SECONDS) if isinstance(content, dict) else None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise errors.bad_json()
    if not 0 < seconds <= MAX_TTL_SECONDS:
        raise errors.bad_json()
    return seconds


def _split(authorization: str) -> tuple[str, str]:
    scheme, _, credential = authorization.strip().partition(" ")
    return scheme.lower(), credential.strip()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
