"""The media types of label files."""

from collections.abc import Mapping
from typing import Final

from qrtrack.domain.labels.documents import FileFormat

PDF: Final = "application/pdf"
ZPL: Final = "application/zpl"
MEDIA_TYPES: Final[Mapping[FileFormat, str]] = {FileFormat.PDF: PDF, FileFormat.ZPL: ZPL}
