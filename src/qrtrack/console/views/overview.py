"""The overview: what runs now, and what the stations packed last."""

from typing import Final

from fastapi import APIRouter
from starlette.responses import Response

from qrtrack.console.access import ConsoleRoute, SignedIn, Visitor
from qrtrack.domain.identity import Permission
from qrtrack.domain.jobs import JobStatus
from qrtrack.domain.packing.selections import BatchSelection, JobSelection, PackSelection
from qrtrack.services.packing.batches import list_batches
from qrtrack.services.packing.reverse_jobs import list_reverse_jobs
from qrtrack.services.trace import list_packs

router = APIRouter(route_class=ConsoleRoute, prefix="/console", include_in_schema=False)

SHOWN: Final = 8


@router.get("")
async def show_overview(visitor: SignedIn) -> Response:
    return visitor.page("overview.html", **await _state(visitor))


@router.get("/overview/now")
async def show_now(visitor: SignedIn) -> Response:
    return visitor.page("overview_now.html", **await _state(visitor))


async def _state(visitor: Visitor) -> dict[str, object]:
    if not visitor.may(Permission.PACK):
        return {"may_pack": False, "running": [], "failed": [], "packs": [], "batches": []}
    database, caller = visitor.database, visitor.caller
    running, failed = [
        await list_reverse_jobs(
            database, caller=caller, selection=JobSelection(status=status), before=None, limit=SHOWN
        )
        for status in (JobStatus.RUNNING, JobStatus.FAILED)
    ]
    return {
        "may_pack": True,
        "running": running,
        "failed": failed,
        "packs": await list_packs(database, caller=caller, selection=PackSelection(), before=None, limit=SHOWN),
        "batches": await list_batches(
            database, caller=caller, selection=BatchSelection(closed=False), before=None, limit=SHOWN
        ),
    }
