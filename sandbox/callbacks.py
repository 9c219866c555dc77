"""Posts results to the address given as `callback`, as Deepgram does.

An answer other than 2xx is tried again, at most ten more times, 30 s apart. The header `dg-token` holds the
identifier of the key that submitted the request; it is no signature.
"""

import asyncio
import logging

import httpx

logger = logging.getLogger(__name__)

RETRIES = 10
RETRY_SECONDS = 30.0


class Callbacks:
    def __init__(self, client: httpx.AsyncClient, retry_seconds: float = RETRY_SECONDS) -> None:
        self.retry_seconds = retry_seconds
        self._client = client

    async def deliver(self, method: str, url: str, body: bytes, key_id: str, *, copies: int = 1) -> None:
        """Gives up after the last retry: a result that nobody takes is lost."""
        headers = {"content-type": "application/json", "dg-token": key_id}
        for _ in range(copies):
            for attempt in range(1 + RETRIES):
                if attempt:
                    await asyncio.sleep(self.retry_seconds)
                if await self._accepted(method, url, body, headers):
                    break

    async def _accepted(self, method: str, url: str, body: bytes, headers: dict[str, str]) -> bool:
        try:
            answer = await self._client.request(method, url, content=body, headers=headers)
        except httpx.HTTPError as error:
            logger.warning("callback failed: %s", type(error).__name__)
            return False
        if not answer.is_success:
            logger.warning("callback refused with %s", answer.status_code)
        return answer.is_success
