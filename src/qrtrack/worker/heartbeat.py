"""Renews the lease of claimed work while it runs."""

import asyncio
from asyncio import sleep, timeout
from time import monotonic
from typing import Final

import structlog

from qrtrack.database import DatabaseUnavailable
from qrtrack.domain.claims import Claim, LeaseLost
from qrtrack.metrics import count_lost_write
from qrtrack.repositories.leased import Queue
from qrtrack.runtime import Runtime
from qrtrack.services.claims import keep_claim

# While the database is away, a worker stops when this part of the lease is left. No other worker can claim the row
# before the lease ends.
MARGIN: Final = 0.1
BEAT_RETRY_SECONDS: Final = 0.5

log = structlog.get_logger()


async def renew_lease(runtime: Runtime, queue: Queue, claim: Claim, body: asyncio.Future[None]) -> None:
    """Renews the lease after each third of its time. Cancels `body` when the lease is lost, or when it is about to
    expire without a renewal.
    """
    lease = runtime.settings.lease_seconds
    trusted_until, pause = claim.asked_at + lease * (1 - MARGIN), lease / 3
    while True:
        await sleep(min(pause, max(trusted_until - monotonic(), 0)))
        began = monotonic()
        try:
            async with timeout(max(trusted_until - began, 0.01)):
                await keep_claim(runtime.database, queue, claim, lease_seconds=lease)
            trusted_until, pause = began + lease * (1 - MARGIN), lease / 3
        except LeaseLost:
            count_lost_write(claim.kind)
            body.cancel()
            return
        except Exception as error:
            # Whatever the error is, the work must not outlive its lease.
            if not isinstance(error, DatabaseUnavailable | TimeoutError):
                log.exception(
                    "a heartbeat failed: if its retries fail too, the work is stopped before its lease expires"
                )
            pause = min(BEAT_RETRY_SECONDS, lease / 10)
            if monotonic() + pause >= trusted_until:
                body.cancel()
                return
