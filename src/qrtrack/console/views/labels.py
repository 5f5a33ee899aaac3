"""The labels page of a batch: ordering labels, the label jobs with their files, and the label of one case."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Form, Path, Query
from starlette.responses import Response

from qrtrack.console.access import ConsoleRoute, Manager, NamesPerson, Packer, Visitor
from qrtrack.console.pictures import offer_of, picture_of
from qrtrack.domain.identity import Permission
from qrtrack.domain.labels.formats import NAME_PATTERN
from qrtrack.domain.labels.label_jobs import LABELS_IN_JOB, PRESET_OF
from qrtrack.domain.labels.print_jobs import printer_kind
from qrtrack.repositories.labels.printers import ListedPrinter
from qrtrack.routers.dependencies import check_person
from qrtrack.routers.labels.label_jobs import send_label_file
from qrtrack.schemas.base import RowId
from qrtrack.services.labels.batch_labels import view_label_jobs, view_labelling
from qrtrack.services.labels.label_formats import get_label_format, list_label_formats
from qrtrack.services.labels.print_jobs import view_print_job
from qrtrack.services.labels.printers import networks_of

router = APIRouter(route_class=ConsoleRoute, prefix="/console", include_in_schema=False)

PAGE: Final = 10
# The sections of texts that the scripts of the page need.
SPOKEN: Final = ("labelling", "label_refusal")

Before = Annotated[UUID | None, Query()]
PrintId = Annotated[RowId | None, Query()]


@router.get("/batches/{batch_id}/labels")
async def show_labels(visitor: Packer, batch_id: UUID, before: Before = None, printed: PrintId = None) -> Response:
    """Shows the labels page. `printed` is the id of the print job of a case's label that was ordered on this page."""
    labelling = await view_labelling(visitor.database, caller=visitor.caller, batch_id=batch_id)
    formats = await list_label_formats(visitor.database, caller=visitor.caller)
    printers: Sequence[ListedPrinter] = ()
    if networks_of(visitor.runtime.settings):
        async with visitor.read() as repositories:
            printers = await repositories.printers.list()
    kinds = sorted({printer_kind(printer.format, printer.dpi) for printer in printers})
    return visitor.page(
        "labels.html",
        SPOKEN,
        batch=labelling.batch,
        labelling=labelling,
        offers=[offer_of(listed) for listed in formats],
        presets={f"{what}-{file_format}": name for (what, file_format), name in PRESET_OF.items()},
        most=LABELS_IN_JOB,
        printers={kind: [row for row in printers if printer_kind(row.format, row.dpi) == kind] for kind in kinds},
        print=printed and await view_print_job(visitor.database, caller=visitor.caller, job_id=printed),
        **await _jobs(visitor, batch_id, before),
    )


@router.get("/batches/{batch_id}/codes-made")
async def await_codes(visitor: Packer, batch_id: UUID) -> Response:
    """Pages opened before the codes existed ask this repeatedly. HX-Refresh makes htmx load the page again."""
    labelling = await view_labelling(visitor.database, caller=visitor.caller, batch_id=batch_id)
    return Response(status_code=204, headers={"HX-Refresh": "true"} if labelling.first_code else None)


@router.get("/batches/{batch_id}/labels/now")
async def show_label_jobs(visitor: Packer, batch_id: UUID, before: Before = None) -> Response:
    return visitor.page("label_jobs.html", **await _jobs(visitor, batch_id, before))


@router.post("/labels/{label_job_id}/file")
async def send_file_with_keys(visitor: Manager, label_job_id: UUID, form: Annotated[NamesPerson, Form()]) -> Response:
    """Sends a label file with root keys in answer to a form of this page, as `exports.send_keys` does."""
    check_person(visitor.session, form.person)
    return await send_label_file(visitor.runtime, visitor.caller, label_job_id, may_reveal=True)


@router.get("/label-formats/picture")
async def show_picture(visitor: Packer, preset: Annotated[str, Query(pattern=NAME_PATTERN)]) -> Response:
    """Shows the picture of a format, large enough for clicking the label to begin with."""
    label_format = await get_label_format(visitor.database, caller=visitor.caller, name=preset)
    return visitor.page("label_sheet.html", picture=picture_of(label_format), places=label_format.labels_per_page)


@router.get("/prints/{print_id}")
async def show_print(visitor: Packer, print_id: Annotated[RowId, Path()]) -> Response:
    job = await view_print_job(visitor.database, caller=visitor.caller, job_id=print_id)
    return visitor.page("label_print.html", print=job)


async def _jobs(visitor: Visitor, batch_id: UUID, before: UUID | None) -> dict[str, object]:
    shown = await view_label_jobs(
        visitor.database, caller=visitor.caller, batch_id=batch_id, before=before, limit=PAGE + 1
    )
    return {
        "batch_id": batch_id,
        "jobs": shown.jobs[:PAGE],
        "more": shown.jobs[PAGE - 1].job.id if len(shown.jobs) > PAGE else None,
        "before": before,
        "kinds": shown.printer_kinds if networks_of(visitor.runtime.settings) else frozenset(),
        "keep": timedelta(days=visitor.runtime.settings.retention_days),
        "may_manage": visitor.may(Permission.MANAGE_BATCHES),
    }
