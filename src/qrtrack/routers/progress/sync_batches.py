"""Progress batches over HTTP."""

from functools import partial
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response

from qrtrack.domain.errors import InvalidState, NotFound
from qrtrack.domain.progress.sync_batches import TERMINAL_SYNCS
from qrtrack.models import SyncBatch
from qrtrack.routers.bodies import NoFields, StrictRoute
from qrtrack.routers.dependencies import ProgressReporter, RuntimeState
from qrtrack.routers.idempotency import AnsweringDatabase
from qrtrack.routers.problems import problems
from qrtrack.routers.waiting import LongPoll
from qrtrack.schemas.base import WaitQuery
from qrtrack.schemas.progress.sync_batches import (
    SyncAnswer,
    SyncBody,
    SyncCreated,
    SyncPage,
    SyncQuery,
    SyncState,
)
from qrtrack.services.progress import sync_batches

router = APIRouter(route_class=StrictRoute, prefix="/api/progress/batches", tags=["progress"])


@router.post("", status_code=201, summary="Announce records to be processed")
async def create_progress_batch(
    body: SyncBody, caller: ProgressReporter, database: AnsweringDatabase, response: Response
) -> SyncCreated:
    """Opens a progress batch. Then report the outcome of each record under `batch_id`, and poll `status_url`.

    Send `{"name": "Price list to 12 shops", "total_records": 1037}`.
    """
    batch = await sync_batches.create_sync_batch(
        database, caller=caller, name=body.name, kind=body.kind, total_records=body.total_records
    )
    created = SyncCreated.model_validate(batch)
    response.headers["Location"] = created.status_url
    return created


@router.get("", response_model=SyncPage, summary="List progress batches")
async def list_progress_batches(
    query: Annotated[SyncQuery, Query()], caller: ProgressReporter, runtime: RuntimeState
) -> dict[str, Any]:
    """Lists your progress batches, newest first. `?status=processing` lists those that run."""
    async with runtime.database.read(tenant=caller.organisation_id) as repositories:
        found = await repositories.sync_batches.list(query.status, before=query.before_id(), limit=query.one_more)
    page = query.page("batches", found, lambda batch: batch.batch_id)
    return page | {"batches": [SyncState.of(batch) for batch in page["batches"]]}


@router.get("/{batch_id}", summary="Look at a batch's progress", responses=problems(NotFound))
async def get_progress_batch(
    batch_id: UUID,
    query: Annotated[WaitQuery, Query()],
    caller: ProgressReporter,
    runtime: RuntimeState,
    long_poll: LongPoll,
) -> SyncAnswer:
    """Shows the state of the batch. `?wait=N` delays the answer until the state changes, at most N seconds. A batch
    that has ended answers at once.
    """
    look = partial(sync_batches.view_sync_batch, runtime.database, caller=caller, batch_id=batch_id)
    return SyncAnswer.of(await long_poll.follow(look, query.wait, has_ended=_has_ended, state=_visible_state))


def _has_ended(batch: SyncBatch) -> bool:
    return batch.status in TERMINAL_SYNCS


def _visible_state(batch: SyncBatch) -> tuple[object, ...]:
    """Returns the fields whose change ends `?wait=`."""
    return batch.status, batch.processed_records, batch.success_count


@router.post(
    "/{batch_id}/cancel",
    response_model=SyncAnswer,
    summary="Cancel a batch",
    responses=problems(NotFound, InvalidState),
)
async def cancel_progress_batch(
    batch_id: UUID, caller: ProgressReporter, database: AnsweringDatabase, _nothing: NoFields = None
) -> SyncBatch:
    """Ends the batch. What was counted stays. Later reports are refused with `progress-cancelled`, which tells their
    senders to stop.
    """
    return await sync_batches.cancel_sync_batch(database, caller=caller, batch_id=batch_id)
