"""Progress batches of other systems: the list, and one batch with its failures. Cancelling calls the JSON API."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.responses import Response

from qrtrack.console.access import ConsoleRoute, Watcher
from qrtrack.domain.progress.sync_batches import TERMINAL_SYNCS, SyncStatus
from qrtrack.schemas.progress.sync_batches import SyncState
from qrtrack.schemas.progress.sync_records import FailureQuery
from qrtrack.services.progress.sync_batches import view_sync_batch
from qrtrack.services.progress.sync_records import list_failures

router = APIRouter(route_class=ConsoleRoute, prefix="/console/progress", include_in_schema=False)

PAGE: Final = 50
FAILURES: Final = 50
TONES: Final[Mapping[str, str]] = {"processing": "busy", "completed": "good", "failed": "bad", "cancelled": "warn"}

Status = SyncStatus | Literal[""]
Cursor = Annotated[str | None, Query(max_length=5000)]


@router.get("")
async def show_batches(visitor: Watcher, status: Status = "", before: UUID | None = None) -> Response:
    found = await _batches(visitor, status, before)
    return visitor.page("progress.html", statuses=list(SyncStatus), **found)


@router.get("/now")
async def show_batches_now(visitor: Watcher, status: Status = "", before: UUID | None = None) -> Response:
    return visitor.page("progress_now.html", **await _batches(visitor, status, before))


async def _batches(visitor: Watcher, status: Status, before: UUID | None) -> dict[str, Any]:
    async with visitor.read() as repositories:
        found = await repositories.sync_batches.list(status or None, before=before, limit=PAGE + 1)
    return {
        "batches": [SyncState.of(batch) for batch in found[:PAGE]],
        "more": found[PAGE - 1].batch_id if len(found) > PAGE else None,
        "status": status,
        "before": before,
        "tones": TONES,
    }


@router.get("/{batch_id}")
async def show_batch(visitor: Watcher, batch_id: UUID, cursor: Cursor = None) -> Response:
    return visitor.page("progress_batch.html", **await _batch(visitor, batch_id, cursor))


@router.get("/{batch_id}/now")
async def show_batch_now(visitor: Watcher, batch_id: UUID, cursor: Cursor = None) -> Response:
    return visitor.page("progress_batch_now.html", **await _batch(visitor, batch_id, cursor))


async def _batch(visitor: Watcher, batch_id: UUID, cursor: str | None) -> dict[str, Any]:
    batch = SyncState.of(await view_sync_batch(visitor.database, caller=visitor.caller, batch_id=batch_id))
    query = FailureQuery(cursor=cursor, limit=FAILURES)
    failures = await list_failures(
        visitor.database, caller=visitor.caller, batch_id=batch_id, after=query.after(), limit=query.one_more
    )
    page = query.page("failures", failures, lambda last: (last.recorded_at, last.record_key))
    return page | {"batch": batch, "cursor": cursor, "is_over": batch.status in TERMINAL_SYNCS, "tones": TONES}
