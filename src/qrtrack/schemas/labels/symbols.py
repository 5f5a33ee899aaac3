"""QR symbols: how they are drawn."""

from typing import Annotated

from pydantic import Field

from qrtrack.domain.qr import QUIET_ZONE, ErrorLevel
from qrtrack.schemas.base import DIGITS, Query


class SymbolOptions(Query):
    """How a QR symbol is drawn."""

    size: Annotated[int, DIGITS] | None = Field(
        None,
        ge=21,
        le=4096,
        description="The side of the image in pixels, including the quiet zone. If it is sent, `scale` is ignored.",
    )
    scale: Annotated[int, DIGITS] = Field(8, ge=1, le=40, description="Pixels a module.")
    error: ErrorLevel = Field("M", description="How much damage the symbol survives: 7, 15, 25 or 30 percent.")
    border: Annotated[int, DIGITS] = Field(
        QUIET_ZONE, ge=0, le=20, description="White around the symbol, in modules. The standard requires 4."
    )
