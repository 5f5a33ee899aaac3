"""The packing page: the queue of a batch, the scan, the answer. Its scripts call the JSON API."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.responses import Response

from qrtrack.console.access import ConsoleRoute, Packer, Visitor
from qrtrack.domain.identity import Permission
from qrtrack.domain.jobs import JobStatus
from qrtrack.domain.packing.numbering import serial
from qrtrack.domain.packing.selections import BatchSelection, JobSelection, PackSelection
from qrtrack.models import Batch, ReverseJob
from qrtrack.services.labels.print_jobs import labels_of_cases

router = APIRouter(route_class=ConsoleRoute, prefix="/console/packing", include_in_schema=False)

OFFERED_BATCHES: Final = 50
SHOWN_JOBS: Final = 5
SHOWN_PACKS: Final = 10
# The packing page offers to undo a case for this long. Later the box has left the line, and the case is undone on its
# own page.
UNDO: Final = timedelta(minutes=10)
# The sections of texts that the scripts of the page need.
SPOKEN: Final = ("scan", "verdict", "exclude", "each", "moving", "part_filled")

ChosenBatch = Annotated[UUID, Query()]


@router.get("")
async def show_packing(visitor: Packer, batch: UUID | None = None) -> Response:
    """Shows the packing page of the batch. Without a batch, shows the batches to choose from."""
    if batch is None:
        async with visitor.read() as repositories:
            batches = await repositories.batch_lists.list(
                BatchSelection(closed=False), before=None, limit=OFFERED_BATCHES
            )
        offered = [listed for listed in batches if listed.batch.codes_created_at is not None]
        return visitor.page("choose_batch.html", batches=offered, span=span)
    queue = await _queue(visitor, batch)
    return visitor.page("packing.html", SPOKEN, **queue, **await _recent(visitor, batch))


@router.get("/queue")
async def show_queue(visitor: Packer, batch: ChosenBatch) -> Response:
    return visitor.page("packing_queue.html", **await _queue(visitor, batch))


@router.get("/recent")
async def show_recent(visitor: Packer, batch: ChosenBatch) -> Response:
    return visitor.page("packing_recent.html", **await _recent(visitor, batch))


async def _queue(visitor: Visitor, batch_id: UUID) -> dict[str, object]:
    async with visitor.read() as repositories:
        listed = await repositories.batch_lists.get(batch_id)
        jobs, running = [
            await repositories.reverse_jobs.list(selection, before=None, limit=SHOWN_JOBS)
            for selection in (JobSelection(batch_id=batch_id), JobSelection(status=JobStatus.RUNNING))
        ]
    return {
        "batch": listed.batch,
        "listed": listed,
        "span": span(listed.batch),
        "ends": _ends(listed.batch),
        "jobs": jobs,
        "step": _next_step(listed.prepared_count, jobs),
        "elsewhere": [job for job in running if job.batch_id != batch_id],
        "may_manage": visitor.may(Permission.MANAGE_BATCHES),
    }


def _next_step(prepared_count: int, jobs: Sequence[ReverseJob]) -> str:
    """Returns the key of the text (`verdict.…`) that says what the operator has to do next."""
    if prepared_count:
        return "idle"
    return "preparing" if jobs and jobs[0].status in (JobStatus.QUEUED, JobStatus.RUNNING) else "none_waits"


async def _recent(visitor: Visitor, batch_id: UUID) -> dict[str, object]:
    """Returns the last cases of the batch that the person packed at this station, the print jobs of their labels, and
    whether the batch is recalled.
    """
    mine = PackSelection(batch_id=batch_id, station=visitor.session.station, actor=visitor.caller.user_id)
    async with visitor.read() as repositories:
        packs = await repositories.trace.list_packs(mine, before=None, limit=SHOWN_PACKS)
        is_recalled = await repositories.recalls.is_batch_recalled(batch_id)
    labels = await labels_of_cases(
        visitor.database, caller=visitor.caller, batch_id=batch_id, case_numbers=[pack.case_number for pack in packs]
    )
    return {
        "packs": packs,
        "labels": labels,
        "batch_id": batch_id,
        "is_recalled": is_recalled,
        "undo": UNDO,
        "now": datetime.now(UTC),
    }


def span(batch: Batch) -> str:
    """Returns the range of codes, such as `SKA000001 – SKA010000`. A batch with random or imported codes has no range:
    then the uniq code.
    """
    ends = _ends(batch)
    return " – ".join(ends) if ends else batch.uniq_code


def _ends(batch: Batch) -> tuple[str, str] | None:
    """Returns the first and the last code, if the codes have an order."""
    if batch.serial_prefix is None or batch.first_number is None:
        return None
    last_number = batch.first_number + batch.quantity - 1
    return serial(batch.serial_prefix, batch.first_number), serial(batch.serial_prefix, last_number)
