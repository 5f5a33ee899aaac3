"""Looking at webhook events, and having them processed again: who, when and why stays."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qrtrack.database import Database
from qrtrack.domain.accurate.processing import EventStatus
from qrtrack.domain.errors import InvalidState
from qrtrack.domain.identity import Caller
from qrtrack.repositories.queues import WEBHOOK_EVENTS

# Events of one transaction of a replay by filter.
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
    event: Any
    conflicts: Sequence[Any]
    replays: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Replayed:
    replayed: int


async def list_events(database: Database, *, caller: Caller, **filters: Any) -> Sequence[Any]:
    """Newest first."""
    async with database.read(tenant=caller.organisation_id) as repositories:
        return await repositories.webhook_replays.page(**filters)


async def view_event(database: Database, *, caller: Caller, event_id: int) -> EventInFull:
    """Raises NotFound."""
    async with database.read(tenant=caller.organisation_id) as repositories:
        event = await repositories.webhook_replays.get(event_id)
        conflicts = await repositories.webhook_replays.conflicts(event_id)
        return EventInFull(event, conflicts, await repositories.webhook_replays.replays(event_id))


async def replay_event(
    database: Database, *, caller: Caller, event_id: int, reason: str | None, pass_on: bool
) -> Replayed:
    """`pass_on`: it goes to the owner's own system again as well. Raises NotFound, NotReplayable while it is not at an
    end of its own, or PayloadGone.
    """
    async with database.write(tenant=caller.organisation_id) as repositories:
        event = await repositories.webhook_replays.get(event_id)
        if event.status in REPLAYABLE and not event.payload:
            raise PayloadGone(f"The content of event {event_id} is past its days: only its uuid is still known.")
        ids = await repositories.webhook_replays.put_back([event_id], REPLAYABLE, pass_on=pass_on)
        if not ids:
            raise NotReplayable(
                f"Event {event_id} is {event.status}: only what is done, skipped or dead can be replayed."
            )
        await repositories.webhook_replays.record_replay(
            organisation_id=caller.organisation_id, actor=caller.user_id, reason=reason, selection={}, ids=ids
        )
        await repositories.wake_workers(WEBHOOK_EVENTS)
        return repositories.answer(Replayed(1))


async def replay_events(
    database: Database, *, caller: Caller, reason: str | None, pass_on: bool, status: str, **narrowed: str | int | None
) -> Replayed:
    """All of the status that fit (`type`, `database_id`, `forward_status`) and still have their payload, in
    transactions of so many events: a replay that is broken off has replayed what it has, and can be sent again.
    """
    selection = {"status": status, **narrowed}
    replayed, after, is_over = Replayed(0), 0, False
    while not is_over:
        async with database.write(tenant=caller.organisation_id) as repositories:
            events = repositories.webhook_replays
            found = await events.replayable(after=after, limit=CHUNK, **selection)
            ids = await events.put_back(found, [status], pass_on=pass_on)
            await events.record_replay(
                organisation_id=caller.organisation_id,
                actor=caller.user_id,
                reason=reason,
                selection=selection,
                ids=ids,
            )
            await repositories.wake_workers(WEBHOOK_EVENTS)
            replayed = repositories.answer(Replayed(replayed.replayed + len(ids)))
        is_over, after = len(found) < CHUNK, max(found, default=after)
    return replayed
