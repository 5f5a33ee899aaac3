"""Label formats over HTTP: presets, an organisation's own formats, and the calibration page for a printer."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from qrtrack.domain.errors import NotFound
from qrtrack.domain.labels.calibration import draw_calibration
from qrtrack.domain.labels.printers import FormatInUse
from qrtrack.routers.bodies import StrictRoute
from qrtrack.routers.dependencies import BatchManager, Packer, RuntimeState
from qrtrack.routers.downloads import attachment
from qrtrack.routers.labels.label_files import PDF
from qrtrack.routers.languages import best_language
from qrtrack.routers.problems import problems
from qrtrack.schemas.labels.label_formats import (
    FormatName,
    LabelFormatAnswer,
    LabelFormatDeleted,
    LabelFormatList,
    LabelFormatRequest,
)
from qrtrack.services.labels import label_formats as use_cases
from qrtrack.services.labels.label_formats import TooManyFormats

router = APIRouter(route_class=StrictRoute, prefix="/api/manufacturer/label-formats", tags=["labels"])

PathName = Annotated[FormatName, Path(description="Small letters, digits and hyphens, at most 40.", examples=["a4-27"])]


@router.get("", summary="List label formats")
async def list_label_formats(caller: Packer, runtime: RuntimeState) -> LabelFormatList:
    """Lists the presets and the organisation's own formats. All lengths are millimetres."""
    return LabelFormatList.of(await use_cases.list_label_formats(runtime.database, caller=caller))


@router.put(
    "/{name}",
    response_model=LabelFormatAnswer,
    summary="Store a label format",
    responses=problems(TooManyFormats, FormatInUse),
)
async def store_label_format(
    name: PathName, body: LabelFormatRequest, caller: BatchManager, runtime: RuntimeState
) -> use_cases.ListedFormat:
    """Creates or replaces the format. Label jobs that were submitted before keep the old format.

    Send `{"kind": "roll", "width": 40, "height": 30}`, or for a sheet its `margins`, `pitch` and `grid` as well.
    """
    return await use_cases.store_label_format(
        runtime.database, caller=caller, name=name, label_format=body.label_format()
    )


@router.delete("/{name}", summary="Delete a label format", responses=problems(NotFound, FormatInUse))
async def delete_label_format(name: PathName, caller: BatchManager, runtime: RuntimeState) -> LabelFormatDeleted:
    """Deletes one of the organisation's own formats. Label jobs that were submitted with the format keep it."""
    await use_cases.delete_label_format(runtime.database, caller=caller, name=name)
    return LabelFormatDeleted(name=name)


@router.get(
    "/{name}/calibration.pdf",
    response_class=Response,
    summary="Draw the calibration page of a label format",
    responses=problems(NotFound) | {200: {"content": {PDF: {}}}},
)
async def get_calibration_page(name: PathName, request: Request, caller: Packer, runtime: RuntimeState) -> Response:
    """Draws the outlines of the labels, and rulers of 100 mm in both directions (shorter on small labels). Print it on
    paper, hold it against a sheet of labels, and measure the rulers. Then print labels with `calibration`: the shift in
    millimetres as `dx` and `dy`, and the length of each ruler divided by its measured length as `scale_x` and
    `scale_y`. The page says so in the language of Accept-Language: English or Indonesian.
    """
    label_format = await use_cases.get_label_format(runtime.database, caller=caller, name=name)
    drawn = draw_calibration(label_format, best_language(request.headers.get("Accept-Language", "")))
    return Response(drawn, media_type=PDF, headers=attachment(f"calibration-{name}.pdf"))
