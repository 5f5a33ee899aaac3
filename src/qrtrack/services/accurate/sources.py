"""Keeping the connection to Accurate: the subscription, events that found their owner, old payloads, and silence."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import httpx2
import structlog

from qrtrack.database import Database
from qrtrack.domain.errors import UpstreamFailed
from qrtrack.integrations.accurate import Account, renew_subscription
from qrtrack.repositories.queues import WEBHOOK_EVENTS

log = structlog.get_logger()


async def keep_subscription(
    database: Database, client: httpx2.AsyncClient, account: Account, *, zone: ZoneInfo
) -> None:
    """Renews it for another week, once a day. A failure is logged and counted, and tried again at the next look."""
    async with database.read() as repositories:
        if await repositories.accurate_sources.is_renewed_today():
            return
    try:
        expires_on = await renew_subscription(client, account, zone=zone)
    except UpstreamFailed as error:
        log.warning("the webhook subscription was not renewed: webhooks stop when it ends", reason=error.detail)
        async with database.write() as repositories:
            await repositories.accurate_sources.mark_renewal_failed(error.detail)
        return
    async with database.write() as repositories:
        await repositories.accurate_sources.mark_renewed(expires_on)
    log.info("the webhook subscription is renewed", expires_on=expires_on.isoformat())


async def assign_events(database: Database, owners: Mapping[int, UUID], *, pass_on: bool) -> int:
    """Events of databases that have been named since they came are processed now; how many. `pass_on`: they are to go
    to the owner's own system as well.
    """
    assigned = 0
    while owners:
        async with database.write() as repositories:
            chunk = await repositories.accurate_sources.assign(owners, pass_on=pass_on)
            if chunk:
                await repositories.wake_workers(WEBHOOK_EVENTS)
        assigned += chunk
        if not chunk:
            break
    if assigned:
        log.info("events found their owners", count=assigned)
    return assigned


async def empty_old_payloads(database: Database, *, days: int) -> int:
    """Their uuid and content hash stay for ever: what comes again later is still a duplicate. How many."""
    emptied = 0
    while True:
        async with database.write() as repositories:
            chunk = await repositories.accurate_sources.empty_payloads(days=days)
        emptied += chunk
        if not chunk:
            return emptied


def totals_of(figures: Mapping[str, Any]) -> dict[str, Any]:
    """What of `connection_figures` anybody may see: no database, no type, no words of Accurate."""
    silences = [source["silent_seconds"] for source in figures["sources"]]
    hidden = {"sources", "unassigned", "renewal_error"}
    return {name: value for name, value in figures.items() if name not in hidden} | {
        "silent_seconds": min(silences, default=None),
        "unassigned_events": sum(source["events"] for source in figures["unassigned"]),
    }


async def connection_figures(database: Database, *, zone: ZoneInfo) -> dict[str, Any]:
    """What tells that Accurate has gone silent, or that its events are not getting through."""
    async with database.read() as repositories:
        sources = await repositories.accurate_sources.sources()
        unassigned = await repositories.accurate_sources.unassigned()
        counts = await repositories.accurate_sources.counts()
        subscription = await repositories.accurate_sources.subscription()
    expires_on = subscription and subscription.expires_on
    return {
        "sources": [
            {"database_id": row.database_id, "type": row.type, "silent_seconds": round(row.silent_seconds)}
            for row in sources
        ],
        "unassigned": [{"database_id": row.database_id, "events": row.events} for row in unassigned],
        "oldest_pending_seconds": counts.oldest_pending_seconds and round(counts.oldest_pending_seconds),
        "dead": counts.dead,
        "conflicts": int(counts.conflicts),
        "to_pass_on": counts.to_pass_on,
        "subscription_days_left": expires_on and (expires_on - datetime.now(zone).date()).days,
        "renewal_failures": subscription.failures if subscription else 0,
        "renewal_error": subscription and subscription.error_message,
    }
