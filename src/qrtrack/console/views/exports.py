"""The files of a batch: codes, cases, prepared units, reconciliation. The links lead to the exports of the JSON API.
Root keys are sent only in answer to a form of this page: a link to them could be on any page.
"""

from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Form
from starlette.responses import Response

from qrtrack.console.access import ConsoleRoute, Manager, NamesPerson
from qrtrack.domain.exports import FileType
from qrtrack.domain.packing.selections import JobSelection
from qrtrack.routers.dependencies import check_person
from qrtrack.routers.downloads import Downloads
from qrtrack.routers.packing.exports import send_codes
from qrtrack.schemas.packing.exports import CodesQuery
from qrtrack.services.labels.batch_labels import view_labelling
from qrtrack.services.packing.exports import Wanted

router = APIRouter(route_class=ConsoleRoute, prefix="/console/batches/{batch_id}/exports", include_in_schema=False)

JOBS: Final = 20
WITH_KEYS: Final = CodesQuery(reveal="root_key")


class KeyFile(NamesPerson):
    """Which file of root keys."""

    file_type: FileType
    delimiter: Literal[",", ";"] = ","


@router.get("")
async def show_exports(visitor: Manager, batch_id: UUID) -> Response:
    labelling = await view_labelling(visitor.database, caller=visitor.caller, batch_id=batch_id)
    async with visitor.read() as repositories:
        jobs = await repositories.reverse_jobs.list(JobSelection(batch_id=batch_id), before=None, limit=JOBS)
    return visitor.page("exports.html", batch=labelling.batch, labelling=labelling, jobs=jobs, may_manage=True)


@router.post("/keys")
async def send_keys(
    visitor: Manager, batch_id: UUID, form: Annotated[KeyFile, Form()], downloads: Downloads
) -> Response:
    check_person(visitor.session, form.person)
    wanted = Wanted(form.file_type, form.delimiter)
    return await send_codes(downloads, visitor.runtime, visitor.caller, WITH_KEYS, batch_id=batch_id, wanted=wanted)
