"""Data of the page of a batch: its reverse jobs, its recalls, and where its codes are."""

from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from fastapi import APIRouter
from starlette.responses import Response

from qrtrack.console.access import ConsoleRoute, Packer
from qrtrack.console.views.recalls import suggested_texts
from qrtrack.domain.batches import BatchNotReady
from qrtrack.domain.packing.selections import JobSelection
from qrtrack.models import Batch
from qrtrack.repositories import Repositories
from qrtrack.services.packing.batches import batch_progress
from qrtrack.services.packing.reconciliation import reconcile_batch

router = APIRouter(route_class=ConsoleRoute, prefix="/console/batches/{batch_id}", include_in_schema=False)

SHOWN_JOBS: Final = 8
SHOWN_RECALLS: Final = 20
SHOWN_DIFFERENCES: Final = 100
# Counting a million codes takes seconds. In a batch above this size, the codes are counted only when somebody presses
# Count.
COUNTED_AT_ONCE: Final = 100_000


@router.get("/reconciliation")
async def show_reconciliation(visitor: Packer, batch_id: UUID) -> Response:
    """Shows the reconciliation. The page loads it separately, because every code of the batch is counted for it."""
    try:
        counted = await reconcile_batch(visitor.database, caller=visitor.caller, batch_id=batch_id)
    except BatchNotReady:
        return visitor.page("batch_reconciliation.html", batch_id=batch_id, found=None)
    places = {
        "in_case": (counted.in_case, "packed"),
        "prepared": (counted.prepared, "prepared"),
        "remaining": (counted.remaining, None),
        "excluded": (counted.excluded, "excluded"),
        "void": (counted.void, "void"),
        "scanned_without_case": (counted.scanned_without_case, None),
        "voided_by_closing": (counted.voided_by_closing, None),
    }
    differences = counted.differences
    return visitor.page(
        "batch_reconciliation.html", batch_id=batch_id, found=counted, places=places,
        differences=differences[:SHOWN_DIFFERENCES], more_differences=max(0, len(differences) - SHOWN_DIFFERENCES),
    )  # fmt: skip


async def progress_of(repositories: Repositories, batch: Batch) -> dict[str, object]:
    """Returns the data of the part of the page that refreshes itself."""
    jobs = await repositories.reverse_jobs.list(JobSelection(batch_id=batch.id), before=None, limit=SHOWN_JOBS)
    return {"jobs": jobs, "progress": batch_progress(batch)}


async def sale_of(repositories: Repositories, batch: Batch) -> dict[str, object]:
    """Returns whether the batch is released for sale, whether it is recalled as a whole, and its recalls in force."""
    recalls = await repositories.recalls.list(batch_id=batch.id, is_in_force=True, before=None, limit=SHOWN_RECALLS)
    is_released = batch.released_at is not None and batch.released_at <= datetime.now(UTC)
    return {
        "recalls": recalls,
        "is_recalled": await repositories.recalls.is_batch_recalled(batch.id),
        "is_released": is_released,
        "is_counted_at_once": batch.quantity <= COUNTED_AT_ONCE,
        "suggested": suggested_texts(),
    }
