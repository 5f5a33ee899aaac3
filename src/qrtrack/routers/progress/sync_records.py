"""Records of progress batches over HTTP: reports and failures."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query

from qrtrack.domain.errors import NotFound
from qrtrack.domain.progress.sync_batches import SyncCancelled
from qrtrack.domain.progress.sync_records import SurplusRecords
from qrtrack.routers.bodies import StrictRoute
from qrtrack.routers.dependencies import ProgressReporter, RuntimeState
from qrtrack.routers.idempotency import AnsweringDatabase
from qrtrack.routers.problems import problems
from qrtrack.schemas.progress.sync_records import FailurePage, FailureQuery, RecordReport, RecordsAnswer
from qrtrack.services.progress import sync_records

router = APIRouter(route_class=StrictRoute, prefix="/api/progress/batches/{batch_id}", tags=["progress"])


@router.post(
    "/records",
    response_model=RecordsAnswer,
    summary="Report outcomes of records",
    responses=problems(NotFound, SurplusRecords, SyncCancelled),
)
async def report_progress_records(
    batch_id: UUID, report: RecordReport, caller: ProgressReporter, runtime: RuntimeState, database: AnsweringDatabase
) -> sync_records.CountedReport:
    """Counts up to 1,000 records: all of them, or none. A report may be repeated at any time, from anywhere: each
    record is counted once, by its key, and its first outcome stays. The last record ends the batch.
    """
    outcomes = [record.outcome() for record in report.records]
    return await sync_records.report_records(
        database, runtime.report_groups, caller=caller, batch_id=batch_id, outcomes=outcomes
    )


@router.get("/failures", response_model=FailurePage, summary="List failed records", responses=problems(NotFound))
async def list_progress_failures(
    batch_id: UUID, query: Annotated[FailureQuery, Query()], caller: ProgressReporter, runtime: RuntimeState
) -> dict[str, Any]:
    """Lists failed records in the order in which they were recorded. The list is complete when the batch has ended."""
    rows = await sync_records.list_failures(
        runtime.database, caller=caller, batch_id=batch_id, after=query.after(), limit=query.one_more
    )
    return query.page("failures", rows, lambda row: (row.recorded_at, row.record_key))
