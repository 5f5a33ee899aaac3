"""The QR symbols of a batch, of its units and of its cases over HTTP."""

import asyncio
import hashlib
from collections.abc import Callable
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from qrtrack.domain.errors import NotFound
from qrtrack.domain.qr import AddressNotPublic, draw_png, draw_svg
from qrtrack.routers.bodies import StrictRoute
from qrtrack.routers.dependencies import Packer, RuntimeState
from qrtrack.routers.problems import problems
from qrtrack.routers.revalidation import has_already
from qrtrack.schemas.base import DIGITS, LARGEST_SEQUENCE, ScannedCode
from qrtrack.schemas.labels.symbols import SymbolOptions
from qrtrack.services.labels import symbols as use_cases
from qrtrack.services.public_address import printable_base_url

router = APIRouter(route_class=StrictRoute, prefix="/api/manufacturer/batches/{batch_id}", tags=["labels"])

# Only the browser may cache a symbol, because it belongs to one organisation. It may cache it for five minutes only,
# because PUBLIC_BASE_URL may change.
SYMBOL_CACHING: Final = {"Cache-Control": "private, max-age=300", "Vary": "Authorization"}
SVG: Final = "image/svg+xml"
PNG: Final = "image/png"
AS_SVG: Final[dict[str, Any]] = {
    "response_class": Response,
    "responses": problems(NotFound, AddressNotPublic) | {200: {"content": {SVG: {}}}},
}
AS_PNG: Final[dict[str, Any]] = {
    "response_class": Response,
    "responses": problems(NotFound, AddressNotPublic) | {200: {"content": {PNG: {}}}},
}

UnitCode = Annotated[ScannedCode, Path(description="The code of a unit of the batch.", examples=["SKA000001"])]
CaseNumber = Annotated[int, DIGITS, Path(ge=1, le=LARGEST_SEQUENCE)]


class Symbol:
    """Answers with a symbol. A request with the `ETag` in `If-None-Match` gets 304 if the symbol has not changed."""

    def __init__(self, request: Request, options: Annotated[SymbolOptions, Query()]) -> None:
        self._request = request
        self._options = options

    async def svg(self, payload: str) -> Response:
        return await self._answer(draw_svg, payload, SVG)

    async def png(self, payload: str) -> Response:
        return await self._answer(draw_png, payload, PNG)

    async def _answer(self, draw: Callable[..., bytes], payload: str, media_type: str) -> Response:
        image = await asyncio.to_thread(draw, payload, **self._options.model_dump())
        tag = hashlib.sha256(image).hexdigest()[:32]
        headers = {"ETag": f'"{tag}"', **SYMBOL_CACHING}
        if has_already(self._request, tag):
            return Response(status_code=304, headers=headers)
        return Response(image, media_type=media_type, headers=headers)


async def _batch_payload(runtime: RuntimeState, caller: Packer, batch_id: UUID) -> str:
    """Raises NotFound, and in production AddressNotPublic."""
    base_url = printable_base_url(runtime.settings, caller.organisation_id)
    return await use_cases.describe_batch_symbol(runtime.database, caller=caller, batch_id=batch_id, base_url=base_url)


async def _unit_payload(runtime: RuntimeState, caller: Packer, batch_id: UUID, code: UnitCode) -> str:
    """Returns the address in the symbol. Raises NotFound, and in production AddressNotPublic."""
    return await use_cases.describe_unit_symbol(
        runtime.database,
        caller=caller,
        batch_id=batch_id,
        code=code,
        base_url=printable_base_url(runtime.settings, caller.organisation_id),
    )


async def _case_payload(runtime: RuntimeState, caller: Packer, batch_id: UUID, case_number: CaseNumber) -> str:
    return await use_cases.describe_case_symbol(
        runtime.database, caller=caller, batch_id=batch_id, case_number=case_number
    )


RequestedSymbol = Annotated[Symbol, Depends(Symbol)]


@router.get("/qr.svg", summary="Draw the batch's QR as SVG", **AS_SVG)
async def get_batch_qr_svg(payload: Annotated[str, Depends(_batch_payload)], symbol: RequestedSymbol) -> Response:
    """Draws the symbol that all units of the batch share. Send its `ETag` as `If-None-Match`: if the symbol has not
    changed, the answer is 304 without content.
    """
    return await symbol.svg(payload)


@router.get("/qr.png", summary="Draw the batch's QR as PNG", **AS_PNG)
async def get_batch_qr_png(payload: Annotated[str, Depends(_batch_payload)], symbol: RequestedSymbol) -> Response:
    """Same as `qr.svg`, but with whole pixels for each module."""
    return await symbol.png(payload)


@router.get("/codes/{code}/qr.svg", summary="Draw a unit's QR as SVG", **AS_SVG)
async def get_unit_qr_svg(payload: Annotated[str, Depends(_unit_payload)], symbol: RequestedSymbol) -> Response:
    """Draws the symbol of one unit: its verification address, or its GS1 Digital Link if the batch has a GTIN."""
    return await symbol.svg(payload)


@router.get("/codes/{code}/qr.png", summary="Draw a unit's QR as PNG", **AS_PNG)
async def get_unit_qr_png(payload: Annotated[str, Depends(_unit_payload)], symbol: RequestedSymbol) -> Response:
    """Same as `qr.svg`, but with whole pixels for each module."""
    return await symbol.png(payload)


@router.get("/cases/{case_number}/qr.svg", summary="Draw a case's QR as SVG", **AS_SVG)
async def get_case_qr_svg(payload: Annotated[str, Depends(_case_payload)], symbol: RequestedSymbol) -> Response:
    """Draws the symbol of a case: its master code, which stations scan."""
    return await symbol.svg(payload)


@router.get("/cases/{case_number}/qr.png", summary="Draw a case's QR as PNG", **AS_PNG)
async def get_case_qr_png(payload: Annotated[str, Depends(_case_payload)], symbol: RequestedSymbol) -> Response:
    """Same as `qr.svg`, but with whole pixels for each module."""
    return await symbol.png(payload)
