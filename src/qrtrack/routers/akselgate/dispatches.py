"""Dispatching a settlement over HTTP."""

from typing import Final

from fastapi import APIRouter

from qrtrack.domain.akselgate.dispatches import InvalidTransactions
from qrtrack.domain.errors import NotFound, Unavailable
from qrtrack.integrations.akselgate import GatewayNotConfigured
from qrtrack.repositories.constraints import DispatchInProgress, ReferenceLocked
from qrtrack.routers.akselgate.callers import Sender
from qrtrack.routers.bodies import StrictRoute
from qrtrack.routers.body_limits import LARGE_BODY_BYTES, body_limit
from qrtrack.routers.dependencies import RuntimeState
from qrtrack.routers.idempotency import AnsweringDatabase
from qrtrack.routers.problems import problems
from qrtrack.schemas.akselgate.dispatches import DispatchAnswer, DispatchBody
from qrtrack.services.akselgate import dispatches
from qrtrack.services.akselgate.answers import (
    AlreadyDispatched,
    Dispatched,
    GatewayNotReached,
    GatewayOutcomeUnknown,
    GatewayRejected,
    OutcomeUnknown,
)

router = APIRouter(route_class=StrictRoute, tags=["settlement dispatch"])

# The time for the first commit of a dispatch, including its waits for a connection and for locks.
WRITING_SECONDS: Final = 30


@router.post(
    "/api/akselgate/dispatch",
    response_model=DispatchAnswer,
    summary="Dispatch a settlement to the bank gateway",
    responses=problems(
        NotFound,
        InvalidTransactions,
        DispatchInProgress,
        OutcomeUnknown,
        AlreadyDispatched,
        ReferenceLocked,
        GatewayRejected,
        GatewayNotConfigured,
        GatewayNotReached,
        GatewayOutcomeUnknown,
    ),
)
@body_limit(LARGE_BODY_BYTES)
async def dispatch_settlement(
    runtime: RuntimeState, database: AnsweringDatabase, caller: Sender, body: DispatchBody
) -> Dispatched:
    """Sends the transactions of one settlement to the gateway, at most once. 200 means that the gateway took them, not
    that they are paid.
    """
    if runtime.stopping.is_set():
        raise Unavailable("Nothing was sent: the service is stopping. Dispatch again.")
    dispatcher = runtime.dispatcher
    dispatcher.gateway.terms()
    request = dispatches.DispatchRequest(body.kd_settle, body.transaction_type, body.transactions)
    return await runtime.shielded_tasks.run(
        dispatches.dispatch_settlement(database, caller=caller, dispatcher=dispatcher, request=request),
        # Sending may take one deadline. Recording the answer may take another one, while the database is away.
        seconds=2 * dispatcher.gateway.deadline_seconds + WRITING_SECONDS,
    )
