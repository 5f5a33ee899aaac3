"""Processing Accurate's events in groups: their ends, and the newest state of their documents, in one transaction."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import structlog

from qrtrack.database import Database
from qrtrack.domain.accurate.documents import TYPES, Reading, read_event
from qrtrack.domain.accurate.forwarding import ForwardStatus
from qrtrack.domain.accurate.processing import EventStatus
from qrtrack.domain.claims import Claim, Group, Piece
from qrtrack.repositories import Repositories
from qrtrack.repositories.accurate.processing import NewestState
from qrtrack.repositories.queues import WEBHOOK_EVENTS, WEBHOOK_RETRIES, WEBHOOK_STREAMS

# So much is read in one step of the event loop, which requests wait for: a millisecond or two. Threads would not help,
# since they keep the interpreter to themselves for longer.
STEP_CHARACTERS = 16 * 1024

# What came while nothing was passed on; the others have their place since they came, and may have been sent.
TO_FORWARD = ", forward_status = COALESCE(forward_status, 'pending')"

log = structlog.get_logger()


@dataclass(slots=True)
class Read:
    """A claimed event with what it says; None where no handler knows its type."""

    event: Piece
    reading: Reading | None

    @property
    def status(self) -> EventStatus:
        return EventStatus.SKIPPED if self.reading is None else EventStatus.DONE

    @property
    def note(self) -> str | None:
        return "no handler knows this type" if self.reading is None else self.reading.note


async def process_event(database: Database, claim: Claim, *, zone: ZoneInfo, pass_on: bool) -> None:
    """One event that was tried before. Raises LeaseLost."""
    async with database.read() as repositories:
        event = await repositories.webhook_processing.event(claim.number)
    (read,) = await _read(database, [event], zone)
    async with database.write() as repositories:
        await repositories.leased(WEBHOOK_RETRIES).finish(
            claim,
            "note = COALESCE(:note, note)" + (TO_FORWARD if pass_on else ""),
            word=read.status,
            note=read.note,
        )
        await _keep(repositories, [read], pass_on=pass_on)


async def process_group(database: Database, group: Group, *, zone: ZoneInfo, pass_on: bool) -> int:
    """A group, all or nothing, but for what did not fit into memory: that is free again. How many events it has ended.
    Raises LeaseLost.

    `pass_on`: the events are to go to the owner's own system as well.
    """
    read = await _read(database, group.pieces, zone)
    async with database.write() as repositories:
        # Ends are written first: they fence what follows.
        held = await repositories.groups(WEBHOOK_EVENTS).finish(
            group,
            [one.event["id"] for one in read],
            [one.status for one in read],
            [one.note for one in read],
            "note = COALESCE(ended.remark, note)" + (TO_FORWARD if pass_on else ""),
        )
        await _keep(repositories, [one for one in read if one.event["id"] in held], pass_on=pass_on)
    return len(held)


async def _read(database: Database, events: Sequence[Piece], zone: ZoneInfo) -> list[Read]:
    """Of the events as many as fit into memory."""
    contents = await _long_contents(database, events)
    read, characters = [], 0
    for event in events:
        payload = contents.get(event["id"]) if event["payload"] is None else event["payload"]
        if payload is None:
            continue
        read.append(Read(event, _reading(event, payload, zone)))
        characters += len(payload)
        if characters > STEP_CHARACTERS:
            characters = 0
            await asyncio.sleep(0)
    return read


async def _long_contents(database: Database, events: Sequence[Piece]) -> Mapping[int, str]:
    """What the events themselves do not carry, by event."""
    missing = [event["id"] for event in events if event["payload"] is None]
    if not missing:
        return {}
    async with database.read() as repositories:
        return await repositories.webhook_processing.contents(missing)


def _reading(event: Piece, payload: str, zone: ZoneInfo) -> Reading | None:
    known = TYPES.get(event["type"])
    return None if known is None else read_event(payload, known, received_at=event["created_at"], zone=zone)


async def _keep(repositories: Repositories, read: Sequence[Read], *, pass_on: bool) -> None:
    """What events leave behind, in the transaction that ended them."""
    if states := _newest_states(read):
        await repositories.webhook_processing.store_states(states)
    await repositories.webhook_processing.heard(_sources(read))
    if to_pass_on := [one.event for one in read if pass_on or _waits_for_passing_on(one.event)]:
        await _pass_on(repositories, to_pass_on)


async def _pass_on(repositories: Repositories, events: Sequence[Piece]) -> None:
    streams = ((event["manufacturer_org_id"], event["database_id"], event["type"]) for event in events)
    await repositories.webhook_forwarding.touch(streams)
    await repositories.wake_workers(WEBHOOK_STREAMS)


def _waits_for_passing_on(event: Piece) -> bool:
    return bool(event["forward_status"] == ForwardStatus.PENDING)


def _newest_states(read: Sequence[Read]) -> list[NewestState]:
    """Of each entity the newest state in the group; of equal ones the later event's."""
    newest: dict[tuple[object, ...], NewestState] = {}
    for one in read:
        if one.reading is None or not one.reading.states:
            continue
        event = one.event
        owner, database_id, kind = event["manufacturer_org_id"], event["database_id"], event["type"]
        for state in one.reading.states:
            entity = (owner, database_id, kind, state.entity_id)
            known = newest.get(entity)
            if known is None or (known.state.event_at, known.event_id) <= (state.event_at, event["id"]):
                newest[entity] = NewestState(owner, database_id, kind, event["id"], state)
    return list(newest.values())


def _sources(read: Sequence[Read]) -> Mapping[tuple[int, str], datetime]:
    latest: dict[tuple[int, str], datetime] = {}
    for one in read:
        source, heard_at = (one.event["database_id"], one.event["type"]), one.event["created_at"]
        if source not in latest or latest[source] < heard_at:
            latest[source] = heard_at
    return latest


async def fail_event(database: Database, claim: Claim, error: str, *, permanent: bool) -> float | None:
    """Another try in so many seconds, or dead (None). It is passed on nevertheless: it is as it came, and those behind
    it wait.
    """
    async with database.write() as repositories:
        retry_in = await repositories.leased(WEBHOOK_RETRIES).fail(claim, error, permanent=permanent)
        event = await repositories.webhook_processing.event(claim.number)
        if _waits_for_passing_on(event):
            await _pass_on(repositories, [event])
    if retry_in is None:
        log.error("a webhook event is dead: see its error, and replay it", queue_id=claim.number, reason=error)
    return retry_in
