"""Attempts over HTTP: listing them, looking at one, resolving an unknown one."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query

from qrtrack.domain.akselgate.attempts import AttemptFilter, AttemptOutcome
from qrtrack.domain.errors import InvalidState, NotFound
from qrtrack.routers.akselgate.callers import Finance, Resolver
from qrtrack.routers.bodies import StrictRoute
from qrtrack.routers.dependencies import RuntimeState
from qrtrack.routers.idempotency import AnsweringDatabase
from qrtrack.routers.problems import problems
from qrtrack.schemas.akselgate.attempts import (
    AttemptAnswer,
    AttemptPage,
    AttemptQuery,
    FullAttempt,
    Resolution,
    ResolvedAnswer,
    RowQuery,
)
from qrtrack.schemas.base import LARGEST_SEQUENCE, RowId
from qrtrack.services.akselgate import attempts

router = APIRouter(route_class=StrictRoute, tags=["settlement dispatch"])

ATTEMPTS: Final = "/api/akselgate/attempts"
LogId = Annotated[RowId, Path()]


@router.get(ATTEMPTS, response_model=AttemptPage, summary="List attempts", responses=problems(NotFound))
async def list_attempts(
    runtime: RuntimeState, caller: Finance, query: Annotated[AttemptQuery, Query()]
) -> dict[str, Any]:
    """Lists attempts, newest first. `is_latest=1` lists only the last attempt of each settlement."""
    wanted = AttemptFilter(query.kd_settle, query.transaction_type, query.outcome, query.is_latest)
    async with runtime.database.read(tenant=caller.organisation_id) as repositories:
        found = await repositories.attempts.list(wanted, before=query.before_number(), limit=query.one_more)
    return query.page("attempts", found, lambda attempt: attempt.id)


@router.get(
    f"{ATTEMPTS}/{{log_id}}",
    response_model=AttemptAnswer,
    summary="Look at an attempt",
    responses=problems(NotFound),
)
async def get_attempt(
    runtime: RuntimeState, caller: Finance, log_id: LogId, query: Annotated[RowQuery, Query()]
) -> dict[str, Any]:
    """Shows all that is known about an attempt: the sent bytes, the rows (paged), callbacks and events."""
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
    responses=problems(NotFound, attempts.SamePerson, InvalidState),
)
async def resolve_attempt(
    database: AnsweringDatabase, caller: Resolver, log_id: LogId, body: Resolution
) -> attempts.Resolved:
    """Records what the bank said about an unknown attempt, with your name. Ask the bank first."""
    return await attempts.resolve_attempt(
        database, caller=caller, attempt_id=log_id, outcome=AttemptOutcome(body.outcome), note=body.note
    )
