"""Passing events on, in order for each entity: a stream of one type and database is in one worker's hands at a time."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final
from zoneinfo import ZoneInfo

import structlog

from qrtrack.database import Database
from qrtrack.domain.accurate.documents import TYPES, read_event
from qrtrack.domain.claims import Claim, Interrupted
from qrtrack.domain.stopping import StopSignal
from qrtrack.integrations.forwarding import Forwarder
from qrtrack.integrations.standard_webhooks import Delivery
from qrtrack.repositories.accurate.forwarding import WINDOW
from qrtrack.repositories.queues import WEBHOOK_STREAMS

# Seconds before attempt 2, 3, …, 8.
BACKOFF: Final = (5.0, 30.0, 120.0, 600.0, 3600.0, 14400.0, 36000.0)
FAILED_STREAM_SECONDS: Final = 60.0
# An endpoint that failed is asked again by then, about the next event: what it fails at may be the one event alone.
MOST_REST_SECONDS: Final = 60.0
# Until earlier events of the database are likely to have found their owner.
EARLY_SECONDS: Final = 5.0
# So many windows of waiting events are looked through for those that need not wait.
WINDOWS: Final = 100

log = structlog.get_logger()


@dataclass(slots=True)
class Walk:
    """One walk through the events of a stream that wait. `held`: entities with an event that is not through yet; their
    later ones wait behind it, those of others do not. `rest`: seconds until there is more to do, None when nothing is
    left. `error`: the endpoint itself is what the stream waits for.
    """

    held: set[str] = field(default_factory=set)
    sent: int = 0
    rest: float | None = None
    error: str | None = None

    def rest_at_most(self, seconds: float) -> None:
        self.rest = seconds if self.rest is None else min(self.rest, seconds)

    def may_send(self, event: Any, entities: frozenset[str]) -> bool:
        """False where it has to wait: for its time, or behind another of its entities."""
        if not event.is_due:
            self.rest_at_most(event.seconds)
        elif not self.held & entities:
            return True
        self.held |= entities
        return False


async def forward_stream(
    database: Database, claim: Claim, *, forwarder: Forwarder | None, zone: ZoneInfo, stop: StopSignal
) -> None:
    """Sends what is due, in the order of arrival, whether it is processed yet or not. Killed between sending and
    recording, it sends again under the same id. Then others have their turn.

    Without a forwarder (the address was taken out of the settings) the stream waits for one.
    """
    if forwarder is None:
        await fail_stream(database, claim, "ACCURATE_FORWARD_URL is not set any more")
        return
    async with database.read() as repositories:
        stream = await repositories.webhook_forwarding.get(claim.number)
    walk = Walk()
    if stream.is_early:
        walk.rest = EARLY_SECONDS
    else:
        await _walk_through(database, claim, stream, walk, forwarder=forwarder, zone=zone, stop=stop)
    # What was added meanwhile has moved `touched`: the stream then goes on at once, unless the endpoint is away.
    is_moved = "touched <> :seen"
    async with database.write() as repositories:
        await repositories.leased(WEBHOOK_STREAMS).repeat(
            claim,
            after=walk.rest or 0,
            ended=f"NOT {is_moved}" if walk.rest is None else "false",
            at_once=is_moved if walk.error is None else "false",
            error=walk.error,
            seen=stream.touched,
        )


async def _walk_through(
    database: Database,
    claim: Claim,
    stream: Any,
    walk: Walk,
    *,
    forwarder: Forwarder,
    zone: ZoneInfo,
    stop: StopSignal,
) -> None:
    """Window after window, until nothing is left, the endpoint fails, or a window's worth was sent: what was held at
    first may be due by then, and other streams wait.
    """
    after = 0
    for _ in range(WINDOWS):
        async with database.read() as repositories:
            events = await repositories.webhook_forwarding.waiting(stream, after=after)
        if not events:
            return
        after = events[-1].id
        for event in events:
            if stop.is_set():
                raise Interrupted
            # Reading them takes its time, which requests would wait for.
            await asyncio.sleep(0)
            await _pass_on(database, claim, event, _entities(event, zone), walk, forwarder=forwarder)
            if walk.error is not None:
                return
        if walk.sent >= WINDOW:
            break
    if walk.sent:
        walk.rest_at_most(0)


def _entities(event: Any, zone: ZoneInfo) -> frozenset[str]:
    """What it has to keep its order with. Where the type says nothing of entities, all of the type are one; where no
    row has an id, or reading it is a defect that its processing will meet, it is in nobody's way.
    """
    kind = TYPES.get(event.type)
    if kind is None:
        return frozenset((event.type,))
    try:
        reading = read_event(event.payload, kind, received_at=event.created_at, zone=zone)
    except Exception:
        log.warning("an event that is passed on cannot be read", queue_id=event.id, exc_info=True)
        return frozenset()
    return frozenset(state.entity_id for state in reading.states)


async def _pass_on(
    database: Database, claim: Claim, event: Any, entities: frozenset[str], walk: Walk, *, forwarder: Forwarder
) -> None:
    if not walk.may_send(event, entities):
        return
    delivery = await forwarder.send(event.id, event.payload)
    delay = await _record(database, claim, event, delivery)
    if delivery.error is None:
        walk.sent += 1
        return
    walk.held |= entities
    if delivery.endpoint:
        walk.error, walk.rest = delivery.error, delivery.wait or min(delay, MOST_REST_SECONDS)
    else:
        walk.rest_at_most(delay)


async def _record(database: Database, claim: Claim, event: Any, delivery: Delivery) -> float:
    """Seconds until it may be tried again. Raises LeaseLost when the stream is in other hands: the event is theirs to
    record. The event is locked before its stream, as it is where its processing ends.
    """
    async with database.write() as repositories:
        streams, delay = repositories.webhook_forwarding, delivery.wait
        if delivery.error is None:
            await streams.mark_sent(event.id)
        elif delivery.wait is not None:
            await streams.mark_waiting(event.id, delivery.error, seconds=delivery.wait)
        else:
            delay = await streams.mark_failed(event.id, delivery.error, backoff=BACKOFF)
        await repositories.leased(WEBHOOK_STREAMS).hold(claim)
    if delivery.error is None:
        return 0
    told = {"queue_id": event.id, "reason": delivery.error}
    if delay is None:
        log.error("an event was given up that should have been passed on: mend the endpoint, and replay it", **told)
        return 0
    log.warning("an event was not passed on", retried_in_seconds=delay, **told)
    return delay


async def fail_stream(database: Database, claim: Claim, error: str) -> float:
    """A defect or a lost worker: the stream rests a while and is tried again, since events wait in it."""
    async with database.write() as repositories:
        await repositories.leased(WEBHOOK_STREAMS).repeat(claim, after=FAILED_STREAM_SECONDS, error=error)
    return FAILED_STREAM_SECONDS
