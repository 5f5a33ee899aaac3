"""Webhook events and their replays over HTTP, for people."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from qrtrack.domain.errors import NotFound
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
from qrtrack.services.accurate import replays as use_cases
from qrtrack.services.accurate.replays import NotReplayable, PayloadGone

router = APIRouter(route_class=StrictRoute, prefix="/api/accurate", tags=["accurate"])

QueueId = Annotated[RowId, Path(description="`queue_id` of the answer to the webhook.")]


@router.get("/events", response_model=WebhookEventPage, summary="List webhook events")
async def list_events(query: Annotated[EventQuery, Query()], caller: Replayer, runtime: RuntimeState) -> dict[str, Any]:
    """The webhook events of your databases, newest first."""
    rows = await use_cases.list_events(
        runtime.database,
        caller=caller,
        status=query.status,
        type=query.type,
        uuid=query.uuid,
        database_id=query.one_database,
        forward_status=query.forward_status,
        before=query.before_number(),
        limit=query.one_more,
    )
    return query.page("events", rows, lambda row: int(row.id))


@router.get(
    "/events/{queue_id}",
    response_model=WebhookEventAnswer,
    summary="Look at a webhook event",
    responses=problems(NotFound),
)
async def get_event(queue_id: QueueId, caller: Replayer, runtime: RuntimeState) -> use_cases.EventInFull:
    """With what came: its JSON text, other contents under the same uuid, and its replays."""
    return await use_cases.view_event(runtime.database, caller=caller, event_id=queue_id)


@router.post(
    "/events/replay",
    response_model=ReplayedAnswer,
    summary="Replay webhook events by filter",
)
async def replay_events(
    order: ReplayMany, caller: Replayer, database: AnsweringDatabase, runtime: RuntimeState
) -> use_cases.Replayed:
    """Has all events that fit processed again, e.g. `{"status": "dead", "type": "SALES_INVOICE", "reason": "…"}`; those
    whose content is past its days stay as they are. Who, when and why is kept. A replay that is broken off has
    replayed what it has: send it again.
    """
    return await use_cases.replay_events(
        database,
        caller=caller,
        status=order.status,
        type=order.type,
        database_id=order.database_id,
        forward_status=order.forward_status,
        reason=order.reason,
        pass_on=runtime.forwarder is not None,
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
    order: ReplayOne | None = None,
) -> use_cases.Replayed:
    """Has the event processed again; the same event changes nothing twice. Who, when and why is kept."""
    reason = None if order is None else order.reason
    pass_on = runtime.forwarder is not None
    return await use_cases.replay_event(database, caller=caller, event_id=queue_id, reason=reason, pass_on=pass_on)
