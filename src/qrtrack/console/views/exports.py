"""The files of a batch: codes, cases, prepared units, reconciliation. The links lead to the exports of the JSON API."""

from typing import Final
from uuid import UUID

from fastapi import APIRouter
from starlette.responses import Response

from qrtrack.console.access import ConsoleRoute, Manager
from qrtrack.domain.packing.selections import JobSelection
from qrtrack.services.labels.batch_labels import view_labelling
from qrtrack.services.packing.reverse_jobs import list_reverse_jobs

router = APIRouter(route_class=ConsoleRoute, prefix="/console/batches/{batch_id}/exports", include_in_schema=False)

JOBS: Final = 20


@router.get("")
async def show_exports(visitor: Manager, batch_id: UUID) -> Response:
    labelling = await view_labelling(visitor.database, caller=visitor.caller, batch_id=batch_id)
    jobs = await list_reverse_jobs(
        visitor.database, caller=visitor.caller, selection=JobSelection(batch_id=batch_id), before=None, limit=JOBS
    )
    return visitor.page("exports.html", batch=labelling.batch, labelling=labelling, jobs=jobs, may_manage=True)
