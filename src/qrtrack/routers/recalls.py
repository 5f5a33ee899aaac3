"""Recalls over HTTP."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query

from qrtrack.domain.errors import InvalidState, NotFound, require_exactly_one
from qrtrack.domain.identity import Caller
from qrtrack.domain.packing.code_lists import UnitOfOtherBatch, UnknownCodes
from qrtrack.repositories.verification.recalls import RecallCount, RecallRow
from qrtrack.routers.bodies import StrictRoute
from qrtrack.routers.body_limits import LARGE_BODY_BYTES, body_limit
from qrtrack.routers.dependencies import BatchManager, Packer, RuntimeState
from qrtrack.routers.idempotency import AnsweringDatabase
from qrtrack.routers.packing.code_lists import read_codes
from qrtrack.routers.problems import problems
from qrtrack.runtime import Runtime
from qrtrack.schemas.recalls import (
    LiftRequest,
    RecallAnswer,
    RecallDetail,
    RecallDetailAnswer,
    RecallDryRun,
    RecalledRange,
    RecallFilter,
    RecallMade,
    RecallPage,
    RecallRequest,
    RecallView,
)
from qrtrack.services import recalls as use_cases
from qrtrack.services.recalls import AlreadyRecalled

router = APIRouter(route_class=StrictRoute, prefix="/api/manufacturer", tags=["recalls"])


@router.post(
    "/recall",
    response_model=RecallMade | RecallDryRun,
    summary="Recall units",
    responses=problems(NotFound, InvalidState, AlreadyRecalled, UnknownCodes, UnitOfOtherBatch),
)
@body_limit(LARGE_BODY_BYTES)
async def recall_units(
    body: RecallRequest, caller: BatchManager, runtime: RuntimeState, database: AnsweringDatabase
) -> RecallRow | RecallCount:
    """Recalls a batch, a case or a list of codes: from now on a check of such a unit answers `recalled` with your text.
    A recall of a case covers the units that are in it now, also after they leave it, and those that are put into it
    later. If one code of the list is refused, nothing is recalled. Send `"dry_run": true` first to see how many units
    it would cover.
    """
    require_exactly_one(codes=body.codes, batch_id=body.batch_id, master_code=body.master_code)
    if body.dry_run:
        return await _count(body, caller, runtime)
    if body.batch_id is not None:
        return await use_cases.recall_batch(database, caller=caller, batch_id=body.batch_id, texts=body.texts)
    if body.master_code is not None:
        return await use_cases.recall_case(database, caller=caller, master_code=body.master_code, texts=body.texts)
    pasted = await read_codes(runtime, caller, body.codes or ())
    return await use_cases.recall_codes(database, caller=caller, pasted=pasted, texts=body.texts)


async def _count(body: RecallRequest, caller: Caller, runtime: Runtime) -> RecallCount:
    database, reason = runtime.database, body.reason
    if body.batch_id is not None:
        return await use_cases.count_recall_of_batch(database, caller=caller, batch_id=body.batch_id, reason=reason)
    if body.master_code is not None:
        return await use_cases.count_recall_of_case(
            database, caller=caller, master_code=body.master_code, reason=reason
        )
    pasted = await read_codes(runtime, caller, body.codes or ())
    return await use_cases.count_recall_of_codes(database, caller=caller, pasted=pasted)


@router.post(
    "/recall/lift",
    response_model=RecallAnswer,
    summary="Lift a recall",
    responses=problems(NotFound, InvalidState),
)
async def lift_recall(body: LiftRequest, caller: BatchManager, database: AnsweringDatabase) -> RecallRow:
    """Ends a recall: checks answer as they did before it, unless another recall covers the unit."""
    return await use_cases.lift_recall(database, caller=caller, recall_id=body.recall_id, reason=body.reason)


@router.get("/recalls", response_model=RecallPage, summary="List recalls")
async def list_recalls(
    query: Annotated[RecallFilter, Query()], caller: Packer, runtime: RuntimeState
) -> dict[str, Any]:
    """Lists recalls, newest first. `?in_force=true` lists those that are not lifted, `?batch_id=` those that cover a
    batch, its cases or its codes.
    """
    async with runtime.database.read(tenant=caller.organisation_id) as repositories:
        rows = await repositories.recalls.list(
            batch_id=query.batch_id, is_in_force=query.in_force, before=query.before_id(), limit=query.one_more
        )
    return query.page("recalls", rows, lambda row: row.recall_id)


@router.get("/recalls/{recall_id}", summary="Get a recall", responses=problems(NotFound))
async def get_recall(recall_id: UUID, caller: Packer, runtime: RuntimeState) -> RecallDetailAnswer:
    """Shows the recall, its units counted by state, and the ranges of its units."""
    found = await use_cases.describe_recall(runtime.database, caller=caller, recall_id=recall_id)
    ranges = [RecalledRange.model_validate(row) for row in found.ranges]
    view = RecallView.model_validate(found.recall)
    return RecallDetailAnswer(recall=RecallDetail(**dict(view), by_status=found.by_status, ranges=ranges))
