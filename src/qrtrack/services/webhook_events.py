"""Processing Accurate's events in groups: their ends, and the newest state of their documents, in one transaction."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import structlog

from qrtrack.database import Database
from qrtrack.domain.accurate import TYPES, Reading, read_event
from qrtrack.domain.claims import Claim, LeaseLost
from qrtrack.domain.webhooks import EventStatus
from qrtrack.metrics import ENDED, count_claim
from qrtrack.repositories.leased import Queue
from qrtrack.repositories.queues import WEBHOOK_EVENTS, WEBHOOK_STREAMS
from qrtrack.repositories.webhook_events import NewestState

# Above this many characters reading a group takes longer than a step of the event loop should.
INLINE_CHARACTERS = 64 * 1024

TO_FORWARD = ", forward_status = 'pending', forward_attempts = 0, forward_at = now(), forward_error = NULL"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Read:
    """An event with what it says; None where no handler knows its type."""

    claim: Claim
    event: Any
    reading: Reading | None

    @property
    def status(self) -> EventStatus:
        return EventStatus.SKIPPED if self.reading is None else EventStatus.DONE

    @property
    def note(self) -> str | None:
        return "no handler knows this type" if self.reading is None else self.reading.note


async def process_event(database: Database, claim: Claim, *, zone: ZoneInfo, pass_on: bool) -> None:
    """One event by itself. Raises LeaseLost."""
    read = await _read_group(database, [claim], zone)
    held, _ = await _finish(database, read, pass_on=pass_on, lease_seconds=0, more=0)
    if not held:
        raise LeaseLost(claim)


async def process_events(
    database: Database, claims: Sequence[Claim], *, zone: ZoneInfo, pass_on: bool, lease_seconds: float, more: int
) -> list[Claim]:
    """A group, all or nothing; the transaction that ends it claims up to `more` events, which are returned. `pass_on`:
    the events are to go to the owner's own system as well.

    Events whose lease was lost meanwhile change nothing. What did not fit into memory is returned as it is.
    """
    read = await _read_group(database, claims, zone)
    done = {one.claim.id for one in read}
    rest = [claim for claim in claims if claim.id not in done]
    held, claimed = await _finish(
        database, read, pass_on=pass_on, lease_seconds=lease_seconds, more=0 if rest else more
    )
    ENDED.labels(WEBHOOK_EVENTS.kind, "completed").inc(len(held))
    for claim in claimed:
        count_claim(claim.kind, claim.waited)
    return rest or claimed


async def _read_group(database: Database, claims: Sequence[Claim], zone: ZoneInfo) -> list[Read]:
    async with database.read() as repositories:
        events = [
            event
            for event in await repositories.webhook_events.load([claim.number for claim in claims])
            if event.payload is not None
        ]
    held = {claim.id: claim for claim in claims}

    def read_all() -> list[Read]:
        return [Read(held[event.id], event, _reading(event, zone)) for event in events]

    if sum(len(event.payload) for event in events) <= INLINE_CHARACTERS:
        return read_all()
    return await asyncio.to_thread(read_all)


def _reading(event: Any, zone: ZoneInfo) -> Reading | None:
    kind = TYPES.get(event.type)
    return None if kind is None else read_event(event.payload, kind, received_at=event.created_at, zone=zone)


async def _finish(
    database: Database, read: Sequence[Read], *, pass_on: bool, lease_seconds: float, more: int
) -> tuple[set[int], list[Claim]]:
    """Ends are written first: they fence what follows, which is for the events still held."""
    async with database.write() as repositories:
        queue = repositories.leased(WEBHOOK_EVENTS)
        held = await queue.finish_all(
            [one.claim for one in read],
            [one.status for one in read],
            "note = COALESCE(ended.note, job.note)" + (TO_FORWARD if pass_on else ""),
            note=[one.note for one in read],
        )
        kept = [one for one in read if one.claim.id in held]
        if states := _newest_states(kept):
            await repositories.webhook_events.store_states(states)
        if kept:
            await repositories.webhook_events.heard(_sources(kept))
        if kept and pass_on:
            await repositories.webhook_streams.touch(
                {(one.claim.organisation_id, one.event.database_id, one.event.type) for one in kept}
            )
            await repositories.wake_workers(WEBHOOK_STREAMS)
        # Last, since it locks the organisations' turns until the commit.
        claimed = await queue.claim(more, lease_seconds=lease_seconds) if more else []
    return held, claimed


def _newest_states(read: Sequence[Read]) -> list[NewestState]:
    """Of each entity the newest state in the group; of equal ones the later event's."""
    newest: dict[tuple[object, ...], NewestState] = {}
    for one in read:
        for state in one.reading.states if one.reading else ():
            owner, event = one.claim.organisation_id, one.event
            entity = (owner, event.database_id, event.type, state.entity_id)
            known = newest.get(entity)
            if known is None or (known.state.event_at, known.event_id) <= (state.event_at, event.id):
                newest[entity] = NewestState(owner, event.database_id, event.type, event.id, state)
    return list(newest.values())


def _sources(read: Sequence[Read]) -> Mapping[tuple[int, str], datetime]:
    latest: dict[tuple[int, str], datetime] = {}
    for one in read:
        source = (one.event.database_id, one.event.type)
        latest[source] = max(one.event.created_at, latest.get(source, one.event.created_at))
    return latest


async def fail_event(database: Database, claim: Claim, queue: Queue, error: str, *, permanent: bool) -> float | None:
    """Another try in so many seconds, or dead (None)."""
    async with database.write() as repositories:
        retry_in = await repositories.leased(queue).fail(claim, error, permanent=permanent)
    if retry_in is None:
        log.error("a webhook event is dead: see its error, and replay it", queue_id=claim.number, reason=error)
    return retry_in
