"""Importing codes that were printed elsewhere. The script of the page sends the file to the JSON API."""

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from qrtrack.console.access import ConsoleRoute, Visitor, allow
from qrtrack.domain.identity import Permission
from qrtrack.domain.packing.imports import ROWS_LIMIT

router = APIRouter(route_class=ConsoleRoute, prefix="/console/batches", include_in_schema=False)

Manager = Annotated[Visitor, Depends(allow(Permission.MANAGE_BATCHES))]


@router.get("/import")
async def show_import(visitor: Manager) -> Response:
    return visitor.page("batch_import.html", ("import", "import_error"), most=ROWS_LIMIT)
