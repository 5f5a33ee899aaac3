"""Callbacks of the bank gateway over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Path, Request

from qrtrack.domain.akselgate.callbacks import Callback, UnknownCallback
from qrtrack.postgresql.outages import DatabaseRefused, DatabaseUnavailable
from qrtrack.routers.bodies import StrictRoute
from qrtrack.routers.dependencies import RuntimeState
from qrtrack.routers.problems import problems
from qrtrack.runtime import AKSELGATE_CALLBACKS
from qrtrack.schemas.akselgate.callbacks import CallbackAnswer
from qrtrack.services.akselgate import callbacks

router = APIRouter(route_class=StrictRoute, tags=["settlement dispatch"])

# The API document states the maximum length. A longer token gets the same answer as any other unknown token.
CallbackToken = Annotated[str, Path(json_schema_extra={"maxLength": 100})]


@router.get(
    f"{AKSELGATE_CALLBACKS}/{{token}}",
    summary="Receive a callback of the bank gateway",
    responses=problems(UnknownCallback, DatabaseUnavailable, DatabaseRefused),
)
async def receive_callback(request: Request, runtime: RuntimeState, token: CallbackToken) -> CallbackAnswer:
    """Stores a callback. Only the gateway calls this address: it receives the address with the batch, and calls it with
    `ref`, `rescore` (`00`: paid) and `rescoreref`.

    The service stores every callback to the address of an attempt, whatever its parameters are; a repeated one only
    once.
    """
    attempt_id = runtime.dispatcher.tokens.attempt_of(token)
    callback = Callback.read(request.query_params.multi_items(), raw_query=request.url.query)
    await callbacks.receive_callback(
        runtime.database,
        attempt_id=attempt_id,
        callback=callback,
        failure_codes=runtime.settings.akselgate_failures,
    )
    return CallbackAnswer()
