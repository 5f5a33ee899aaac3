"""Settlement dispatch over HTTP. The gateway's account is one organisation's: for others none of this exists."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query, Request

from qrtrack.domain.akselgate.callbacks import Callback, UnknownCallback
from qrtrack.domain.akselgate.dispatches import InvalidTransactions, Outcome
from qrtrack.domain.errors import InvalidState, NotFound, Unavailable
from qrtrack.domain.identity import Caller, Permission
from qrtrack.integrations.akselgate import GatewayNotConfigured
from qrtrack.outages import DatabaseRefused, DatabaseUnavailable
from qrtrack.repositories.constraints import ReferenceLocked, SettlementBusy
from qrtrack.routers.bodies import StrictRoute
from qrtrack.routers.body_limits import LARGE_BODY_BYTES, body_limit
from qrtrack.routers.dependencies import Gate, RuntimeState, require
from qrtrack.routers.idempotency import AnsweringDatabase
from qrtrack.routers.problems import problems
from qrtrack.runtime import Runtime
from qrtrack.schemas.akselgate.dispatches import (
    AttemptAnswer,
    AttemptPage,
    AttemptQuery,
    CallbackAnswer,
    DispatchAnswer,
    DispatchBody,
    FullAttempt,
    ReportAnswer,
    ReportQuery,
    Resolution,
    ResolvedAnswer,
    RowQuery,
)
from qrtrack.schemas.base import LARGEST_SEQUENCE, RowId
from qrtrack.services.akselgate import attempts, callbacks
from qrtrack.services.akselgate import dispatches as use_cases
from qrtrack.services.akselgate.attempts import SamePerson
from qrtrack.services.akselgate.dispatch_answers import (
    AlreadyDispatched,
    GatewayNotReached,
    GatewayOutcomeUnknown,
    GatewayRejected,
    OutcomeUnknown,
)
from qrtrack.services.akselgate.dispatches import CALLBACK_PATH, DispatchOrder

router = APIRouter(route_class=StrictRoute, tags=["settlement dispatch"])

ATTEMPTS: Final = "/api/akselgate/attempts"
# The figures of a settlement in the report that add up to those of the day.
REPORT_FIGURES: Final = (
    "sent", "accepted", "rejected", "not_sent", "sending", "unknown", "unknown_hour", "unknown_day", "unknown_older",
    "callbacks_ok", "callbacks_failed", "callbacks_missing", "callbacks_conflict", "sum_in", "sum_out", "sum_accepted",
    "sum_unknown", "sum_sending", "sum_rejected", "sum_not_sent", "sum_paid",
)  # fmt: skip
# The first write of a dispatch, with its waits for a connection and for locks.
WRITING_SECONDS: Final = 30


def _check_account_holder(runtime: Runtime, caller: Caller) -> None:
    """Raises NotFound for every organisation but the one whose account it is; without one, for all."""
    if caller.organisation_id != runtime.settings.akselgate_organisation:
        raise NotFound("Your organisation has no account at the gateway.")


def _check_finance(runtime: Runtime, caller: Caller) -> None:
    _check_account_holder(runtime, caller)
    require(caller, Permission.DISPATCH)


def _check_resolver(runtime: Runtime, caller: Caller) -> None:
    _check_account_holder(runtime, caller)
    require(caller, Permission.RESOLVE_AND_REPLAY)


def _check_sender(runtime: Runtime, caller: Caller) -> None:
    """Where no organisation is named at all, finance is told so, as of every other missing setting."""
    if runtime.settings.akselgate_organisation is not None:
        _check_account_holder(runtime, caller)
    require(caller, Permission.DISPATCH)


Finance = Annotated[Caller, Depends(Gate(_check_finance))]
Resolver = Annotated[Caller, Depends(Gate(_check_resolver))]
Sender = Annotated[Caller, Depends(Gate(_check_sender))]
# Its bound is told and not enforced: a longer one is as unknown as any other.
CallbackToken = Annotated[str, Path(json_schema_extra={"maxLength": 100})]
LogId = Annotated[RowId, Path()]


@router.post(
    "/api/akselgate/dispatch",
    response_model=DispatchAnswer,
    summary="Dispatch a settlement to the bank gateway",
    responses=problems(
        NotFound,
        InvalidTransactions,
        SettlementBusy,
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
) -> Any:
    """Sends a batch of one settlement to the gateway, at most once. 200 means taken, not paid."""
    if runtime.stopping.is_set():
        raise Unavailable("The service is about to stop and begins no dispatch. Nothing was sent: try again.")
    runtime.post.gateway.terms()
    order = DispatchOrder(body.kd_settle, body.transaction_type, body.transactions)
    return await runtime.shielded_tasks.run(
        use_cases.dispatch_settlement(database, caller=caller, post=runtime.post, order=order),
        # Sending may take the deadline, and recording the answer another one where the database is away.
        seconds=2 * runtime.post.gateway.deadline_seconds + WRITING_SECONDS,
    )


@router.get(ATTEMPTS, response_model=AttemptPage, summary="List attempts", responses=problems(NotFound))
async def list_attempts(runtime: RuntimeState, caller: Finance, query: Annotated[AttemptQuery, Query()]) -> Any:
    """Attempts, newest first. `is_latest=1` shows the last one of each settlement."""
    found = await attempts.list_attempts(
        runtime.database,
        caller=caller,
        kd_settle=query.kd_settle,
        transaction_type=query.transaction_type,
        outcome=query.outcome,
        is_latest=query.is_latest,
        before=query.after_number() or None,
        limit=query.one_more,
    )
    page = query.page("attempts", found, lambda attempt: attempt.id)
    return page | {"attempts": AttemptPage.listed(page["attempts"])}


@router.get(
    f"{ATTEMPTS}/{{log_id}}",
    response_model=AttemptAnswer,
    summary="Look at an attempt",
    responses=problems(NotFound),
)
async def get_attempt(
    runtime: RuntimeState, caller: Finance, log_id: LogId, query: Annotated[RowQuery, Query()]
) -> Any:
    """All that is known of an attempt: the bytes that were sent, the rows (paged), callbacks and events."""
    view = await attempts.view_attempt(
        runtime.database,
        caller=caller,
        attempt_id=log_id,
        after=query.after_number(LARGEST_SEQUENCE),
        limit=query.one_more,
    )
    payloads = {} if view.payloads is None else view.payloads._asdict()
    attempt = FullAttempt.model_validate(view.attempt._asdict() | payloads)
    page = query.page("rows", view.rows, lambda row: row.row_number)
    return page | {"attempt": attempt, "callbacks": view.callbacks, "events": view.events}


@router.post(
    f"{ATTEMPTS}/{{log_id}}/resolve",
    response_model=ResolvedAnswer,
    summary="Resolve an unknown attempt",
    responses=problems(NotFound, SamePerson, InvalidState),
)
async def resolve_attempt(database: AnsweringDatabase, caller: Resolver, log_id: LogId, body: Resolution) -> Any:
    """Ends the uncertainty about an unknown attempt, after asking the bank. It leaves a trace with your name."""
    return await attempts.resolve_attempt(
        database, caller=caller, attempt_id=log_id, outcome=Outcome(body.outcome), note=body.note
    )


@router.get(
    "/api/akselgate/report",
    response_model=ReportAnswer,
    summary="Report a day's dispatches",
    responses=problems(NotFound),
)
async def get_report(runtime: RuntimeState, caller: Finance, query: Annotated[ReportQuery, Query()]) -> Any:
    """A day's dispatches by settlement; the day is that of REPORT_TIMEZONE."""
    timezone = runtime.settings.report_timezone
    rows = [
        row._asdict()
        for row in await attempts.report_day(runtime.database, caller=caller, day=query.date, timezone=timezone)
    ]
    totals = {figure: sum(row[figure] for row in rows) for figure in REPORT_FIGURES}
    settlements = [row | _compared(row) for row in rows]
    return {"date": query.date, "timezone": timezone, "settlements": settlements, "totals": totals | _compared(totals)}


def _compared(figures: Mapping[str, Any]) -> dict[str, Any]:
    names = {"under_1_hour": "unknown_hour", "under_1_day": "unknown_day", "older": "unknown_older"}
    ages = {age: figures[name] for age, name in names.items()}
    return {"unknown_by_age": ages, "sums_agree": figures["sum_in"] == figures["sum_out"]}


@router.get(
    f"{CALLBACK_PATH}/{{token}}",
    response_model=CallbackAnswer,
    summary="Receive a callback of the bank gateway",
    responses=problems(UnknownCallback, DatabaseUnavailable, DatabaseRefused),
)
async def receive_callback(request: Request, runtime: RuntimeState, token: CallbackToken) -> Any:
    """For the gateway alone, which got this address with the batch: `ref`, `rescore` (`00`: paid), `rescoreref`.

    Nothing is refused for its form: a report that cannot be understood is kept as well.
    """
    attempt_id = runtime.post.tokens.attempt_of(token)
    callback = Callback.read(request.query_params.multi_items(), raw_query=request.url.query)
    await callbacks.receive_callback(
        runtime.database,
        attempt_id=attempt_id,
        callback=callback,
        failure_codes=runtime.settings.akselgate_failures,
    )
    return {}
