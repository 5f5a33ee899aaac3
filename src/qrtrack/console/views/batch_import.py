"""Importing codes that were printed elsewhere. The script of the page sends the file to the JSON API."""

from fastapi import APIRouter
from starlette.responses import Response

from qrtrack.console.access import ConsoleRoute, Manager
from qrtrack.domain.packing.imports import ROWS_LIMIT

router = APIRouter(route_class=ConsoleRoute, prefix="/console/batches", include_in_schema=False)


@router.get("/import")
async def show_import(visitor: Manager) -> Response:
    return visitor.page("batch_import.html", ("import", "import_error"), most=ROWS_LIMIT)
