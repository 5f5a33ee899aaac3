"""The files that the service sends: their media types, and the names under which browsers store them."""

from collections.abc import Mapping
from typing import Final

from qrtrack.domain.labels.documents import FileFormat

PDF: Final = "application/pdf"
ZPL: Final = "application/zpl"
MEDIA_TYPES: Final[Mapping[FileFormat, str]] = {FileFormat.PDF: PDF, FileFormat.ZPL: ZPL}


def attachment(name: str) -> dict[str, str]:
    """Builds the header of a download. `name` must be plain ASCII without quotes."""
    return {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "private, no-store"}
