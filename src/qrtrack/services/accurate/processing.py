"""Processes webhook events: one transaction ends them and stores the newest states of their documents."""

import asyncio
from collections.abc import Mapping, Sequence
from zoneinfo import ZoneInfo

import structlog

from qrtrack.database import Database
from qrtrack.domain.accurate.documents import TYPES, Reading, read_event
from qrtrack.domain.accurate.forwarding import ForwardStatus
from qrtrack.domain.accurate.processing import ClaimedEvent, ReadEvent, last_heard, newest_states
from qrtrack.domain.accurate.steps import in_steps
from qrtrack.domain.claims import Claim, Group
from qrtrack.repositories import Repositories
from qrtrack.repositories.queues import WEBHOOK_RETRIES, WEBHOOK_STREAMS

log = structlog.get_logger()


async def process_event(database: Database, claim: Claim, *, zone: ZoneInfo, forward: bool) -> None:
    """Retries one event. Raises LeaseLost."""
    async with database.read() as repositories:
        event = await repositories.webhook_retries.get(claim.number)
    (read,) = await _read(database, [event], zone)
    async with database.write() as repositories:
        await repositories.webhook_retries.finish(claim, status=read.status, note=read.note, forward=forward)
        await _store(repositories, [read], forward=forward)


async def process_group(database: Database, group: Group[ClaimedEvent], *, zone: ZoneInfo, forward: bool) -> int:
    """Processes a group in one transaction. Long payloads are read up to a limit of memory; the events beyond it are
    released. Returns how many events it has ended. Raises LeaseLost.

    `forward`: the events are also forwarded to ACCURATE_FORWARD_URL.
    """
    read = await _read(database, group.pieces, zone)
    async with database.write() as repositories:
        # First, since it fences what follows.
        held = await repositories.webhook_processing.finish_group(group, read, forward=forward)
        await _store(repositories, [one for one in read if one.event.id in held], forward=forward)
    return len(held)


async def _read(database: Database, events: Sequence[ClaimedEvent], zone: ZoneInfo) -> list[ReadEvent]:
    """Reads as many of the events as fit into memory."""
    payloads = await _long_payloads(database, [event.id for event in events if event.payload is None])
    whole = ((event, payloads.get(event.id) if event.payload is None else event.payload) for event in events)
    loaded = ((event, payload) for event, payload in whole if payload is not None)
    read: list[ReadEvent] = []
    # Reads on the event loop, in short steps: a thread would hold the interpreter for longer than a step does.
    for step in in_steps(loaded, lambda one: len(one[1])):
        read += (ReadEvent(event, _reading(event, payload, zone)) for event, payload in step)
        await asyncio.sleep(0)
    return read


async def _long_payloads(database: Database, ids: Sequence[int]) -> Mapping[int, str]:
    if not ids:
        return {}
    async with database.read() as repositories:
        return await repositories.webhook_processing.payloads(ids)


def _reading(event: ClaimedEvent, payload: str, zone: ZoneInfo) -> Reading | None:
    known = TYPES.get(event.type)
    return None if known is None else read_event(payload, known, received_at=event.created_at, zone=zone)


async def _store(repositories: Repositories, read: Sequence[ReadEvent], *, forward: bool) -> None:
    """Stores the results of events in the transaction that ends them."""
    if states := newest_states(read):
        await repositories.webhook_processing.store_states(states)
    await repositories.webhook_processing.store_last_heard(last_heard(read))
    await _queue_streams(repositories, [one.event for one in read], forward=forward)


async def _queue_streams(repositories: Repositories, events: Sequence[ClaimedEvent], *, forward: bool = False) -> None:
    """Queues the streams of these events: of those that wait to be forwarded, or of all with `forward`."""
    streams = {event.stream for event in events if forward or event.forward_status == ForwardStatus.PENDING}
    if streams:
        await repositories.webhook_forwarding.touch(streams)
        await repositories.wake_workers(WEBHOOK_STREAMS)


async def fail_event(database: Database, claim: Claim, error: str, *, permanent: bool) -> float | None:
    """Records the failure. Returns the seconds until the next attempt, or None when the event is dead. Forwarding does
    not wait for the retry: it sends events in order of arrival, and later events queue behind this one.
    """
    async with database.write() as repositories:
        retry_in = await repositories.leased(WEBHOOK_RETRIES).fail(claim, error, permanent=permanent)
        await _queue_streams(repositories, [await repositories.webhook_retries.get(claim.number)])
    if retry_in is None:
        log.error(
            "a webhook event is dead: fix the cause of its error, then replay it", queue_id=claim.number, reason=error
        )
    return retry_in
