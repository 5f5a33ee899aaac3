"""Maintains the connection to Accurate: renews the subscription, assigns events to their owners, empties old payloads,
and reports silence.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import httpx2
import structlog

from qrtrack.database import Database
from qrtrack.domain.errors import UpstreamFailed
from qrtrack.integrations.accurate import Account, renew_subscription
from qrtrack.repositories import Repositories
from qrtrack.repositories.accurate.sources import UnassignedEvents
from qrtrack.repositories.queues import WEBHOOK_EVENTS
from qrtrack.services.small_steps import repeat

log = structlog.get_logger()


async def keep_subscription(
    database: Database, client: httpx2.AsyncClient, account: Account, *, zone: ZoneInfo
) -> None:
    """Renews the subscription once a day. A failure is logged and counted, and the next run of the task retries."""
    async with database.read() as repositories:
        if await repositories.accurate_sources.is_renewed_today():
            return
    try:
        expires_on = await renew_subscription(client, account, zone=zone)
    except UpstreamFailed as error:
        log.warning("the webhook subscription was not renewed: webhooks stop when it expires", reason=error.detail)
        async with database.write() as repositories:
            await repositories.accurate_sources.mark_renewal_failed(error.detail)
        return
    async with database.write() as repositories:
        await repositories.accurate_sources.mark_renewed(expires_on)
    log.info("the webhook subscription is renewed", expires_on=expires_on.isoformat())


async def assign_events(database: Database, owners: Mapping[int, UUID], *, forward: bool) -> int:
    """Queues the unassigned events of these databases for their owners. Returns how many.

    `forward`: the events are also forwarded to ACCURATE_FORWARD_URL.
    """

    async def assign(repositories: Repositories) -> int:
        chunk = await repositories.accurate_sources.assign(owners, forward=forward)
        if chunk:
            await repositories.wake_workers(WEBHOOK_EVENTS)
        return chunk

    assigned = await repeat(database, assign) if owners else 0
    if assigned:
        log.info("events were assigned to their owners", count=assigned)
    return assigned


async def empty_old_payloads(database: Database, *, days: int) -> int:
    """Empties old payloads and returns how many. Uuids and content hashes stay for ever, so that a late repeat still
    counts as a duplicate.
    """
    return await repeat(database, lambda repositories: repositories.accurate_sources.empty_payloads(days=days))


class Silence(NamedTuple):
    """Events of one type from one database, and how long ago the last one came."""

    database_id: int
    type: str
    silent_seconds: int


class AccurateHealth(NamedTuple):
    """Show whether Accurate has gone silent, and whether its events are processed. `oldest_pending_seconds` is None
    when no event waits, `subscription_days_left` when no subscription is known.
    """

    sources: Sequence[Silence]
    unassigned: Sequence[UnassignedEvents]
    oldest_pending_seconds: int | None
    dead: int
    conflicts: int
    to_pass_on: int
    subscription_days_left: int | None
    renewal_failures: int
    renewal_error: str | None

    @property
    def silent_seconds(self) -> int | None:
        return min((source.silent_seconds for source in self.sources), default=None)

    @property
    def unassigned_events(self) -> int:
        return sum(of_one.events for of_one in self.unassigned)


async def read_accurate_health(database: Database, *, zone: ZoneInfo) -> AccurateHealth:
    async with database.read() as repositories:
        sources = await repositories.accurate_sources.sources()
        unassigned = await repositories.accurate_sources.unassigned()
        totals = await repositories.accurate_sources.totals()
        subscription = await repositories.accurate_sources.subscription()
    expires_on = subscription.expires_on if subscription else None
    oldest = totals.oldest_pending_seconds
    return AccurateHealth(
        sources=[Silence(source.database_id, source.type, round(source.silent_seconds)) for source in sources],
        unassigned=unassigned,
        oldest_pending_seconds=None if oldest is None else round(oldest),
        dead=totals.dead,
        conflicts=totals.conflicts,
        to_pass_on=totals.to_pass_on,
        subscription_days_left=None if expires_on is None else (expires_on - datetime.now(zone).date()).days,
        renewal_failures=subscription.failures if subscription else 0,
        renewal_error=subscription.error_message if subscription else None,
    )
