"""Passing events on, in order for each entity: a stream of one type and database is in one worker's hands at a time."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from zoneinfo import ZoneInfo

import structlog

from qrtrack.database import Database
from qrtrack.domain.accurate import TYPES, read_event
from qrtrack.domain.claims import Claim, Interrupted
from qrtrack.domain.stopping import StopSignal
from qrtrack.integrations.forwarding import Delivery, Forwarder
from qrtrack.repositories.queues import WEBHOOK_STREAMS

# Seconds before attempt 2, 3, …, 8.
BACKOFF: Final = (5.0, 30.0, 120.0, 600.0, 3600.0, 14400.0, 36000.0)
FAILED_STREAM_SECONDS: Final = 60.0

log = structlog.get_logger()


@dataclass(slots=True)
class Pause:
    """When the stream has to be looked at again. `error`: the endpoint itself is what it waits for."""

    seconds: float | None = None
    error: str | None = None

    def at_most(self, seconds: float) -> None:
        self.seconds = seconds if self.seconds is None else min(self.seconds, seconds)


@dataclass(slots=True)
class Held:
    """Entities with an event that is not through yet: their later ones wait behind it, those of others do not."""

    entities: set[str] = field(default_factory=set)
    all: bool = False

    def touches(self, entities: frozenset[str]) -> bool:
        return self.all or bool(self.entities & entities) or (not entities and bool(self.entities))

    def add(self, entities: frozenset[str]) -> None:
        self.entities |= entities
        self.all = self.all or not entities


async def forward_stream(
    database: Database, claim: Claim, *, forwarder: Forwarder | None, zone: ZoneInfo, stop: StopSignal
) -> None:
    """Sends what is due until nothing is. Killed between sending and recording, it sends again under the same id.

    Without a forwarder (the address was taken out of the settings) the stream waits for one.
    """
    if forwarder is None:
        await fail_stream(database, claim, "ACCURATE_FORWARD_URL is not set any more")
        return
    while True:
        async with database.read() as repositories:
            stream = await repositories.webhook_streams.get(claim.number)
            events = await repositories.webhook_streams.waiting(stream)
        pause, sent = await _send_due(database, claim, events, forwarder=forwarder, zone=zone, stop=stop)
        if not sent or pause.error is not None:
            break
    async with database.write() as repositories:
        # What was added since the look above has moved `touched`: the stream then goes on at once.
        await repositories.leased(WEBHOOK_STREAMS).repeat(
            claim,
            after=pause.seconds or 0,
            ended="false" if events else "touched = :seen",
            error=pause.error,
            **({} if events else {"seen": stream.touched}),
        )


async def _send_due(
    database: Database, claim: Claim, events: Sequence[Any], *, forwarder: Forwarder, zone: ZoneInfo, stop: StopSignal
) -> tuple[Pause, int]:
    """Until when to rest, and how many were sent."""
    pause, held, sent = Pause(), Held(), 0
    for event in events:
        if stop.is_set():
            raise Interrupted
        entities = _entities(event, zone)
        if held.touches(entities):
            held.add(entities)
            continue
        if not event.is_due:
            held.add(entities)
            pause.at_most(event.seconds)
            continue
        delivery = await forwarder.send(event.id, event.payload)
        await _record(database, claim, event, delivery, pause)
        if delivery.error is None:
            sent += 1
            continue
        held.add(entities)
        if delivery.endpoint:
            pause.error = delivery.error
            break
    return pause, sent


def _entities(event: Any, zone: ZoneInfo) -> frozenset[str]:
    """Empty where they cannot be told: the event then keeps its place among all."""
    kind = TYPES.get(event.type)
    if kind is None:
        return frozenset()
    reading = read_event(event.payload, kind, received_at=event.created_at, zone=zone)
    return frozenset(state.entity_id for state in reading.states)


async def _record(database: Database, claim: Claim, event: Any, delivery: Delivery, pause: Pause) -> None:
    """Raises LeaseLost when the stream is in other hands: the event is theirs to record."""
    async with database.write() as repositories:
        await repositories.leased(WEBHOOK_STREAMS).hold(claim)
        streams = repositories.webhook_streams
        if delivery.error is None:
            await streams.mark_sent(event.id)
            return
        if delivery.wait is not None:
            await streams.mark_waiting(event.id, delivery.error, seconds=delivery.wait)
            pause.seconds = delivery.wait
            return
        delay = await streams.mark_failed(event.id, delivery.error, backoff=BACKOFF)
        pause.at_most(delay or 0)
    log.warning("an event was not passed on", queue_id=event.id, reason=delivery.error, retried_in_seconds=delay)


async def fail_stream(database: Database, claim: Claim, error: str) -> float:
    """A defect or a lost worker: the stream rests a while and is tried again, since events wait in it."""
    async with database.write() as repositories:
        await repositories.leased(WEBHOOK_STREAMS).repeat(claim, after=FAILED_STREAM_SECONDS, error=error)
    return FAILED_STREAM_SECONDS
