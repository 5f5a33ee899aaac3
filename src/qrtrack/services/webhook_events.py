"""Processing Accurate's events in groups: their ends, and the newest state of their documents, in one transaction."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo

import structlog

from qrtrack.database import Database
from qrtrack.domain.accurate import TYPES, Reading, read_event
from qrtrack.domain.claims import Claim, LeaseLost
from qrtrack.domain.webhooks import EventStatus, ForwardStatus
from qrtrack.metrics import ENDED, count_claims
from qrtrack.repositories.leased import Queue
from qrtrack.repositories.queues import WEBHOOK_EVENTS, WEBHOOK_STREAMS
from qrtrack.repositories.webhook_events import NewestState

# So much is read in one step of the event loop, which requests wait for: a millisecond or two. Threads would not help,
# since they keep the interpreter to themselves for longer.
STEP_CHARACTERS = 16 * 1024

# What came while nothing was passed on; the others have their place since they came, and may have been sent.
TO_FORWARD = ", forward_status = COALESCE(job.forward_status, 'pending')"

log = structlog.get_logger()


@dataclass(slots=True)
class Read:
    """A claimed event with what it says; None where no handler knows its type."""

    claim: Claim
    type: str
    database_id: int
    received_at: datetime
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
    count_claims(WEBHOOK_EVENTS.kind, (claim.waited for claim in claimed))
    return rest or claimed


async def _read_group(database: Database, claims: Sequence[Claim], zone: ZoneInfo) -> list[Read]:
    """Of the claims as many as fit into memory."""
    contents = await _long_contents(database, claims)
    read, characters = [], 0
    for claim in claims:
        kind, database_id, received_at, _, carried = claim.carried
        payload = contents.get(claim.number) if carried is None else carried
        if payload is None:
            continue
        reading = _reading(kind, payload, received_at, zone)
        read.append(Read(claim, kind, database_id, received_at, reading))
        characters += len(payload)
        if characters > STEP_CHARACTERS:
            characters = 0
            await asyncio.sleep(0)
    return read


async def _long_contents(database: Database, claims: Sequence[Claim]) -> Mapping[int, str]:
    """What the claims themselves do not carry, by event."""
    missing = [claim.number for claim in claims if claim.carried[-1] is None]
    if not missing:
        return {}
    async with database.read() as repositories:
        return await repositories.webhook_events.contents(missing)


def _reading(kind: str, payload: str, received_at: datetime, zone: ZoneInfo) -> Reading | None:
    known = TYPES.get(kind)
    return None if known is None else read_event(payload, known, received_at=received_at, zone=zone)


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
        if to_pass_on := [one.claim for one in kept if pass_on or _waits_for_passing_on(one.claim)]:
            await repositories.webhook_streams.touch(map(_stream, to_pass_on))
            await repositories.wake_workers(WEBHOOK_STREAMS)
        # Last, since it locks the organisations' turns until the commit.
        claimed = await queue.claim(more, lease_seconds=lease_seconds) if more else []
    return held, claimed


def _waits_for_passing_on(claim: Claim) -> bool:
    _, _, _, forward_status, _ = claim.carried
    return bool(forward_status == ForwardStatus.PENDING)


def _stream(claim: Claim) -> tuple[UUID, int, str]:
    kind, database_id, *_ = claim.carried
    return claim.organisation_id, database_id, kind


def _newest_states(read: Sequence[Read]) -> list[NewestState]:
    """Of each entity the newest state in the group; of equal ones the later event's."""
    newest: dict[tuple[object, ...], NewestState] = {}
    for one in read:
        owner, event_id = one.claim.organisation_id, one.claim.number
        for state in one.reading.states if one.reading else ():
            entity = (owner, one.database_id, one.type, state.entity_id)
            known = newest.get(entity)
            if known is None or (known.state.event_at, known.event_id) <= (state.event_at, event_id):
                newest[entity] = NewestState(owner, one.database_id, one.type, event_id, state)
    return list(newest.values())


def _sources(read: Sequence[Read]) -> Mapping[tuple[int, str], datetime]:
    latest: dict[tuple[int, str], datetime] = {}
    for one in read:
        source, heard_at = (one.database_id, one.type), one.received_at
        if source not in latest or latest[source] < heard_at:
            latest[source] = heard_at
    return latest


async def fail_event(database: Database, claim: Claim, queue: Queue, error: str, *, permanent: bool) -> float | None:
    """Another try in so many seconds, or dead (None). It is passed on nevertheless: it is as it came, and those behind
    it wait.
    """
    async with database.write() as repositories:
        retry_in = await repositories.leased(queue).fail(claim, error, permanent=permanent)
        if _waits_for_passing_on(claim):
            await repositories.webhook_streams.touch([_stream(claim)])
            await repositories.wake_workers(WEBHOOK_STREAMS)
    if retry_in is None:
        log.error("a webhook event is dead: see its error, and replay it", queue_id=claim.number, reason=error)
    return retry_in
