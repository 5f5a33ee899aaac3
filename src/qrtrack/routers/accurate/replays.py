"""Webhook events and their replays over HTTP."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from qrtrack.domain.errors import NotFound
from qrtrack.domain.matching import Matching
from qrtrack.routers.bodies import StrictRoute
from qrtrack.routers.dependencies import Replayer, RuntimeState
from qrtrack.routers.idempotency import AnsweringDatabase
from qrtrack.routers.problems import problems
from qrtrack.schemas.accurate.replays import (
    EventQuery,
    ReplayedAnswer,
    ReplayMany,
    ReplayOne,
    WebhookEventAnswer,
    WebhookEventPage,
)
from qrtrack.schemas.base import RowId
from qrtrack.schemas.matching import MatchingAnswer
from qrtrack.services.accurate import replays as use_cases
from qrtrack.services.accurate.replays import NotReplayable, PayloadGone

router = APIRouter(route_class=StrictRoute, prefix="/api/accurate", tags=["accurate"])

QueueId = Annotated[RowId, Path(description="`queue_id` in the answer to the webhook.")]


@router.get("/events", response_model=WebhookEventPage, summary="List webhook events")
async def list_events(query: Annotated[EventQuery, Query()], caller: Replayer, runtime: RuntimeState) -> dict[str, Any]:
    """Lists the webhook events of your databases, newest first."""
    async with runtime.database.read(tenant=caller.organisation_id) as repositories:
        events = await repositories.webhook_replays.page(
            query.selection(),
            uuid=query.uuid,
            conflicts=query.conflicts,
            before=query.before_number(),
            limit=query.one_more,
        )
    return query.page("events", events, lambda event: event.id)


@router.get(
    "/events/{queue_id}",
    response_model=WebhookEventAnswer,
    summary="Look at a webhook event",
    responses=problems(NotFound),
)
async def get_event(queue_id: QueueId, caller: Replayer, runtime: RuntimeState) -> use_cases.EventInFull:
    """Shows one event with its JSON text, other contents that arrived under its uuid, and its replays."""
    return await use_cases.view_event(runtime.database, caller=caller, event_id=queue_id)


@router.post(
    "/events/replay", response_model=ReplayedAnswer | MatchingAnswer, summary="Replay webhook events by filter"
)
async def replay_events(
    body: ReplayMany, caller: Replayer, database: AnsweringDatabase, runtime: RuntimeState
) -> use_cases.Replayed | Matching:
    """Processes all matching events again, e.g. `{"status": "dead", "type": "SALES_INVOICE", "reason": "…"}`. Events
    whose content was deleted after its retention period are left out. The service records who, when and why. If the
    request is interrupted, some events have been replayed: send it again for the others; with the same
    `Idempotency-Key`, no event is replayed twice, and the answer counts all. `"dry_run": true` only counts.
    """
    if body.dry_run:
        return await use_cases.count_replayable(database, caller=caller, selection=body.selection())
    return await use_cases.replay_events(
        database,
        caller=caller,
        selection=body.selection(),
        reason=body.reason,
        forward=runtime.forwarder is not None,
    )


@router.post(
    "/events/{queue_id}/replay",
    response_model=ReplayedAnswer,
    summary="Replay a webhook event",
    responses=problems(NotFound, NotReplayable, PayloadGone),
)
async def replay_event(
    queue_id: QueueId,
    caller: Replayer,
    database: AnsweringDatabase,
    runtime: RuntimeState,
    body: ReplayOne | None = None,
) -> use_cases.Replayed:
    """Processes the event again. A document that has a newer state keeps it. The service records who, when and why."""
    reason = None if body is None else body.reason
    forward = runtime.forwarder is not None
    return await use_cases.replay_event(database, caller=caller, event_id=queue_id, reason=reason, forward=forward)
