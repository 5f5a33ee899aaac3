"""The scanner test page. From one scan of its label, the script of the page finds out how the hand scanner is set."""

from typing import Final

from fastapi import APIRouter
from starlette.responses import Response

from qrtrack.console.access import ConsoleRoute, Packer
from qrtrack.domain.qr import draw_svg

router = APIRouter(route_class=ConsoleRoute, prefix="/console/scanner-test", include_in_schema=False)

LABEL: Final = 'qrTrack-Test:0123456789/YyZzAaQqMmWw"'
"""The test label contains characters that the keyboard layouts write with different keys, in upper and lower case, and
none that needs AltGr.
"""


@router.get("")
async def show_scanner_test(visitor: Packer) -> Response:
    return visitor.page("scanner_test.html", ("scanner",), label=LABEL)


@router.get("/label.svg")
async def draw_label(visitor: Packer) -> Response:  # noqa: ARG001 the label is shown to those who may scan
    return Response(draw_svg(LABEL), media_type="image/svg+xml", headers={"Cache-Control": "private, max-age=3600"})
