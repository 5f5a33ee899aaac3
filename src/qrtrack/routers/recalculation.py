"""Recounting over HTTP, for cron jobs."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from qrtrack.domain.errors import NotFound
from qrtrack.routers.bodies import StrictRoute
from qrtrack.routers.dependencies import RuntimeState, machine_caller
from qrtrack.routers.problems import problems
from qrtrack.schemas.recalculation import RecalculationAnswer, RecountQuery
from qrtrack.services.recalculation import SILENT_SECONDS, Recalculation, recalculate_one, recalculate_progress

router = APIRouter(
    route_class=StrictRoute, prefix="/api/progress", tags=["progress"], dependencies=[Depends(machine_caller)]
)


@router.post(
    "/recalculate",
    response_model=RecalculationAnswer,
    summary="Recount progress",
    responses=problems(NotFound),
)
async def recalculate_counters(query: Annotated[RecountQuery, Query()], runtime: RuntimeState) -> Recalculation:
    """Recounts progress batches, batches and reverse jobs that are in progress and have not changed for five minutes;
    or all that are in progress, or one. Repairs wrong counters, and ends work that is complete. The service does this
    by itself every five minutes.
    """
    query.check()
    if query.batch_id is not None:
        return await recalculate_one(runtime.database, query.batch_id)
    return await recalculate_progress(runtime.database, silent_seconds=0 if query.all else SILENT_SECONDS)
