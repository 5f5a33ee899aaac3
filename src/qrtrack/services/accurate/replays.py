"""Reads and replays webhook events. Each replay is recorded with who, when and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from qrtrack.database import Database
from qrtrack.domain.accurate.processing import EventStatus
from qrtrack.domain.accurate.replays import EventSelection
from qrtrack.domain.errors import InvalidState
from qrtrack.domain.identity import Caller
from qrtrack.domain.matching import MOST_COUNTED, Matching
from qrtrack.repositories.accurate.replays import Conflict, Event, Replay
from qrtrack.repositories.queues import WEBHOOK_EVENTS

# How many events one transaction of a replay by filter requeues.
CHUNK = 5_000
REPLAYABLE = (EventStatus.DONE, EventStatus.SKIPPED, EventStatus.DEAD)


class NotReplayable(InvalidState):
    """Only an event that is done, skipped or dead can be replayed."""

    slug = "event-not-replayable"
    title = "The event cannot be processed again"


class PayloadGone(InvalidState):
    """The event's content was deleted when its retention period ended."""

    slug = "payload-gone"
    title = "The event's content is gone"


@dataclass(frozen=True, slots=True)
class EventInFull:
    event: Event
    conflicts: Sequence[Conflict]
    replays: Sequence[Replay]


@dataclass(frozen=True, slots=True)
class Replayed:
    replayed: int


class SoFar(NamedTuple):
    """What the earlier transactions have done. The next one replays events with ids above `after`."""

    after: int = 0
    replayed: int = 0


async def view_event(database: Database, *, caller: Caller, event_id: int) -> EventInFull:
    """Raises NotFound."""
    async with database.read(tenant=caller.organisation_id) as repositories:
        event = await repositories.webhook_replays.get(event_id)
        conflicts = await repositories.webhook_replays.conflicts(event_id)
        return EventInFull(event, conflicts, await repositories.webhook_replays.replays(event_id))


async def replay_event(
    database: Database, *, caller: Caller, event_id: int, reason: str | None, forward: bool
) -> Replayed:
    """Replays one event. With `forward` the event is also forwarded again. Raises NotFound, NotReplayable or
    PayloadGone.
    """
    async with database.write(tenant=caller.organisation_id) as repositories:
        event = await repositories.webhook_replays.get(event_id)
        if event.status in REPLAYABLE and not event.payload:
            raise PayloadGone(
                f"The content of event {event_id} was deleted when its retention period ended: it cannot be replayed."
            )
        ids = await repositories.webhook_replays.requeue([event_id], REPLAYABLE, forward=forward)
        if not ids:
            raise NotReplayable(
                f"Event {event_id} is {event.status}: only an event that is done, skipped or dead can be replayed."
            )
        await repositories.webhook_replays.record_replay(caller, reason=reason, selection=None, ids=ids)
        await repositories.wake_workers(WEBHOOK_EVENTS)
        return repositories.answer(Replayed(1))


async def count_replayable(database: Database, *, caller: Caller, selection: EventSelection) -> Matching:
    """Counts what `replay_events` would replay now."""
    async with database.read(tenant=caller.organisation_id) as repositories:
        return Matching.of(
            await repositories.webhook_replays.count_replayable(selection, REPLAYABLE, limit=MOST_COUNTED + 1)
        )


async def replay_events(
    database: Database, *, caller: Caller, selection: EventSelection, reason: str | None, forward: bool
) -> Replayed:
    """Replays the selected events that are done, skipped or dead and still have their payload, CHUNK events for each
    transaction. After an interruption the caller sends the request again, and it continues with the remaining events.
    With the same Idempotency-Key the answer counts all events, without a key only the remaining ones.
    """
    so_far = SoFar()
    while True:
        async with database.write(tenant=caller.organisation_id) as repositories:
            after, replayed = repositories.continued(so_far)
            events = repositories.webhook_replays
            found = await events.find_replayable(selection, REPLAYABLE, after=after, limit=CHUNK)
            # With the filter again: a concurrent replay may have requeued, and a worker finished, some of these events.
            statuses = REPLAYABLE if selection.status is None else [selection.status]
            ids = await events.requeue(found, statuses, forward_status=selection.forward_status, forward=forward)
            await events.record_replay(caller, reason=reason, selection=selection, ids=ids)
            await repositories.wake_workers(WEBHOOK_EVENTS)
            replayed += len(ids)
            if len(found) < CHUNK:
                return repositories.answer(Replayed(replayed))
            so_far = repositories.keep_so_far(SoFar(max(found), replayed))
