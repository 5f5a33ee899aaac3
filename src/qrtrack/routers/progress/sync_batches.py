"""Progress of other systems' fan-outs over HTTP; and recounting, for cron jobs."""

from functools import partial
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response

from qrtrack.domain.errors import InvalidState, NotFound
from qrtrack.domain.progress.sync_batches import TERMINAL_SYNCS, SurplusRecords, SyncCancelled
from qrtrack.models import SyncBatch
from qrtrack.routers.bodies import NoFields, StrictRoute
from qrtrack.routers.dependencies import ProgressReporter, RuntimeState, machine_caller
from qrtrack.routers.idempotency import AnsweringDatabase
from qrtrack.routers.problems import problems
from qrtrack.routers.waiting import LongPoll
from qrtrack.schemas.progress.sync_batches import (
    FailurePage,
    FailureQuery,
    RecalculationAnswer,
    RecordReport,
    RecordsAnswer,
    RecountQuery,
    SyncAnswer,
    SyncCreated,
    SyncOrder,
    WaitQuery,
)
from qrtrack.services.progress import sync_batches as use_cases
from qrtrack.services.progress.sync_records import ReportedRecords, report_records
from qrtrack.services.recalculation import SILENT_SECONDS, Recalculation, recalculate_one, recalculate_progress

router = APIRouter(route_class=StrictRoute, prefix="/api/progress/batches", tags=["progress"])
machine_router = APIRouter(
    route_class=StrictRoute, prefix="/api/progress", tags=["progress"], dependencies=[Depends(machine_caller)]
)


@router.post("", status_code=201, response_model=SyncCreated, summary="Announce records to be processed")
async def create_progress_batch(
    order: SyncOrder, caller: ProgressReporter, database: AnsweringDatabase, response: Response
) -> use_cases.CreatedSync:
    """Opens a batch for so many records. Then report each record's outcome under `batch_id`, and look at `status_url`.

    Send `{"name": "Price list to 12 shops", "total_records": 1037}`.
    """
    created = await use_cases.create_sync_batch(
        database, caller=caller, name=order.name, kind=order.kind, total_records=order.total_records
    )
    response.headers["Location"] = created.status_url
    return created


@router.post(
    "/{batch_id}/records",
    response_model=RecordsAnswer,
    summary="Report outcomes of records",
    responses=problems(NotFound, SurplusRecords, SyncCancelled),
)
async def report_progress_records(
    batch_id: UUID, report: RecordReport, caller: ProgressReporter, runtime: RuntimeState, database: AnsweringDatabase
) -> ReportedRecords:
    """Counts up to 1,000 records, all of them or none. Safe to send again, by anybody, at any time: a record is counted
    once, by its key, and its first outcome stays. With the last record the batch ends.
    """
    outcomes = [record.outcome() for record in report.records]
    return await report_records(database, runtime.report_groups, caller=caller, batch_id=batch_id, outcomes=outcomes)


@router.get("/{batch_id}", summary="Look at a batch's progress", responses=problems(NotFound))
async def get_progress_batch(
    batch_id: UUID,
    query: Annotated[WaitQuery, Query()],
    caller: ProgressReporter,
    runtime: RuntimeState,
    long_poll: LongPoll,
) -> SyncAnswer:
    """How the batch stands. With `?wait=N` the answer comes when something has changed since the request arrived, when
    the batch is over, or after N seconds.
    """
    look = partial(use_cases.view_sync_batch, runtime.database, caller=caller, batch_id=batch_id)
    before = await look()
    if not query.wait or before.status in TERMINAL_SYNCS:
        return SyncAnswer.of(before)
    stood = _standing(before)
    return SyncAnswer.of(await long_poll.watch(look, query.wait, lambda batch: _standing(batch) != stood, seen=before))


def _standing(batch: SyncBatch) -> tuple[object, ...]:
    """What a poller sees change."""
    return batch.status, batch.processed_records, batch.success_count


@router.get(
    "/{batch_id}/failures", response_model=FailurePage, summary="List failed records", responses=problems(NotFound)
)
async def list_progress_failures(
    batch_id: UUID, query: Annotated[FailureQuery, Query()], caller: ProgressReporter, runtime: RuntimeState
) -> dict[str, Any]:
    """In the order in which they were recorded; whole once the batch is over."""
    rows = await use_cases.list_failures(
        runtime.database, caller=caller, batch_id=batch_id, after=query.after(), limit=query.one_more
    )
    return query.page("failures", rows, lambda row: (row.recorded_at, row.record_key))


@router.post(
    "/{batch_id}/cancel",
    response_model=SyncAnswer,
    summary="Cancel a batch",
    responses=problems(NotFound, InvalidState),
)
async def cancel_progress_batch(
    batch_id: UUID, caller: ProgressReporter, database: AnsweringDatabase, _nothing: NoFields = None
) -> SyncBatch:
    """Ends the batch as it stands. What was counted stays; reports that come later are refused with
    `progress-cancelled`, which tells their senders to stop.
    """
    return await use_cases.cancel_sync_batch(database, caller=caller, batch_id=batch_id)


@machine_router.post(
    "/recalculate",
    response_model=RecalculationAnswer,
    summary="Recount progress",
    responses=problems(NotFound),
)
async def recalculate_counters(query: Annotated[RecountQuery, Query()], runtime: RuntimeState) -> Recalculation:
    """Counts again, from the rows themselves, whatever is in progress and has been silent for five minutes: progress
    batches, batches and reverse jobs; or all of them, or one. Repairs what was wrong, and completes what is complete.
    The service does the same by itself every five minutes.
    """
    query.check()
    if query.batch_id is not None:
        return await recalculate_one(runtime.database, query.batch_id)
    return await recalculate_progress(runtime.database, silent_seconds=0 if query.all else SILENT_SECONDS)
