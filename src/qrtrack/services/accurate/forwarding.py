"""Forwards webhook events to ACCURATE_FORWARD_URL. A stream is the events of one type and database. One worker at a
time holds a stream, and sends the events of each entity in order of arrival.
"""

import asyncio
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

import structlog

from qrtrack.database import Database
from qrtrack.domain.accurate.documents import TYPES, read_event
from qrtrack.domain.accurate.forwarding import StreamRun
from qrtrack.domain.claims import Claim, Interrupted
from qrtrack.domain.stopping import StopSignal
from qrtrack.integrations.forwarding import Forwarder
from qrtrack.integrations.standard_webhooks import Delivery
from qrtrack.repositories.accurate.forwarding import WINDOW, PendingEvent, Stream
from qrtrack.repositories.queues import WEBHOOK_STREAMS

# Seconds before attempts 2 to 8.
BACKOFF: Final = (5.0, 30.0, 120.0, 600.0, 3600.0, 14400.0, 36000.0)
FAILED_STREAM_SECONDS: Final = 60.0
# The longest pause after a failure of the endpoint that asks for no pause (Retry-After): the endpoint may fail at one
# event only, and accept the next one.
MAX_PAUSE_SECONDS: Final = 60.0
# When to look again at an early stream: one whose older events have no owner yet. By then, the task that assigns events
# to their owners may have run.
EARLY_SECONDS: Final = 5.0
# How many windows of pending events one run reads.
MAX_WINDOWS: Final = 100

log = structlog.get_logger()


async def forward_stream(
    database: Database, claim: Claim, *, forwarder: Forwarder | None, zone: ZoneInfo, stop: StopSignal
) -> None:
    """Sends the due events of a stream, also those that no worker has processed yet. If a worker is killed between
    sending and recording, the event stays pending and is sent again under the same id.

    Without a forwarder (ACCURATE_FORWARD_URL was removed) the stream waits. Raises Interrupted and LeaseLost.
    """
    if forwarder is None:
        await fail_stream(database, claim, "ACCURATE_FORWARD_URL is no longer set")
        return
    async with database.read() as repositories:
        stream = await repositories.webhook_forwarding.get(claim.number)
    run = StreamRun()
    if stream.is_early:
        run.retry_within(EARLY_SECONDS)
    else:
        await _Sender(database, claim, forwarder, zone, stop, run).send_due(stream)
    async with database.write() as repositories:
        await repositories.webhook_forwarding.requeue(
            claim, after=run.retry_in, error=run.endpoint_error, seen=stream.touched
        )


@dataclass(frozen=True, slots=True)
class _Sender:
    database: Database
    claim: Claim
    forwarder: Forwarder
    zone: ZoneInfo
    stop: StopSignal
    run: StreamRun

    async def send_due(self, stream: Stream) -> None:
        """Reads one window after another until no event is left or the endpoint fails. Stops when it has sent as many
        events as a window holds: other streams wait, and events that were not due may be due by then.
        """
        after = 0
        for _ in range(MAX_WINDOWS):
            async with self.database.read() as repositories:
                events = await repositories.webhook_forwarding.pending(stream, after=after)
            if not events:
                return
            after = events[-1].id
            for event in events:
                if self.stop.is_set():
                    raise Interrupted
                # Reading the payload takes processor time, so other requests may run first.
                await asyncio.sleep(0)
                await self._send(event, _entities(event, self.zone))
                if self.run.endpoint_error is not None:
                    return
            if self.run.sent >= WINDOW:
                break
        if self.run.sent:
            self.run.retry_within(0)

    async def _send(self, event: PendingEvent, entities: frozenset[str]) -> None:
        run = self.run
        if not run.may_send(entities, due_in=event.due_in):
            return
        delivery = await self.forwarder.send(event.id, event.payload)
        retry_in = await self._record(event, delivery)
        if delivery.error is None:
            run.sent += 1
            return
        run.blocked |= entities
        if delivery.endpoint:
            run.endpoint_error, run.retry_in = delivery.error, delivery.wait or min(retry_in, MAX_PAUSE_SECONDS)
        else:
            run.retry_within(retry_in)

    async def _record(self, event: PendingEvent, delivery: Delivery) -> float:
        """Records the attempt. Returns the seconds until the next one, or 0 if the event is sent or given up. Raises
        LeaseLost when another worker holds the stream.

        Locks the event before its stream, as the end of processing does: the other order would deadlock.
        """
        async with self.database.write() as repositories:
            events, retry_in = repositories.webhook_forwarding, delivery.wait
            if delivery.error is None:
                await events.mark_sent(event.id)
            elif delivery.wait is not None:
                await events.postpone(event.id, delivery.error, seconds=delivery.wait)
            else:
                retry_in = await events.mark_failed(event.id, delivery.error, backoff=BACKOFF)
            await repositories.leased(WEBHOOK_STREAMS).hold(self.claim)
        if delivery.error is None:
            return 0
        failure = {"queue_id": event.id, "reason": delivery.error}
        if retry_in is None:
            log.error("an event was not forwarded and is given up: fix the endpoint, then replay the event", **failure)
            return 0
        log.warning("an event was not forwarded", retried_in_seconds=retry_in, **failure)
        return retry_in


def _entities(event: PendingEvent, zone: ZoneInfo) -> frozenset[str]:
    """Returns the entities whose order the event must keep. An unknown type counts as one entity. An event without any
    id, or one that the handler cannot read, blocks no other event.
    """
    kind = TYPES.get(event.type)
    if kind is None:
        return frozenset((event.type,))
    try:
        reading = read_event(event.payload, kind, received_at=event.created_at, zone=zone)
    except Exception:
        log.warning(
            "an event to forward cannot be read: it is sent, but no other event waits for it",
            queue_id=event.id,
            exc_info=True,
        )
        return frozenset()
    return frozenset(state.entity_id for state in reading.states)


async def fail_stream(database: Database, claim: Claim, error: str, *, permanent: bool = False) -> float:  # noqa: ARG001 - a stream never ends
    """Requeues the stream and returns the seconds until its next run. A stream never fails, since its events are still
    pending.
    """
    async with database.write() as repositories:
        await repositories.webhook_forwarding.requeue(claim, after=FAILED_STREAM_SECONDS, error=error)
    return FAILED_STREAM_SECONDS
