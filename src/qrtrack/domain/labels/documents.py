"""Writes files of labels: PDF pages or ZPL rows, one after the other. Another process may continue a file."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Final

from qrtrack.domain.labels import pdf, zpl
from qrtrack.domain.labels.formats import UNCALIBRATED, Calibration, LabelFormat
from qrtrack.domain.labels.labels import Label, PlacedLabel, place_label
from qrtrack.domain.labels.layouts import Resolution


class FileFormat(StrEnum):
    PDF = "pdf"
    ZPL = "zpl"


DEFAULT_DPI: Final[zpl.Dpi] = 203


@dataclass(frozen=True, slots=True)
class Printing:
    """How labels are placed on their format. `at_tills` asks for the larger modules that GS1 requires for retail.
    `start_at` is the place of the first label on its page, counted from 1 along the rows. `dpi` is used for ZPL only.
    """

    label_format: LabelFormat
    file_format: FileFormat = FileFormat.PDF
    start_at: int = 1
    at_tills: bool = False
    dpi: zpl.Dpi = DEFAULT_DPI
    calibration: Calibration = UNCALIBRATED

    @property
    def resolution(self) -> Resolution:
        return Resolution(self.dpi if self.file_format is FileFormat.ZPL else None)

    def place(self, label: Label) -> PlacedLabel:
        """Raises LabelTooSmall."""
        return place_label(label, self.label_format, at_tills=self.at_tills, resolution=self.resolution)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How much of a file is written, in complete pages. `offsets` are the byte positions of the PDF objects of its
    pages.
    """

    labels: int = 0
    size: int = 0
    offsets: Sequence[int] = ()


class LabelWriter:
    """Writes a file page by page, from its beginning or from a checkpoint. `close` returns the end of the file."""

    def __init__(self, printing: Printing, checkpoint: Checkpoint = Checkpoint()) -> None:
        self._printing = printing
        self._origins = list(printing.label_format.origins())
        self._labels = checkpoint.labels
        self._pdf = pdf.PdfWriter(printing.label_format.page, position=checkpoint.size, offsets=checkpoint.offsets)

    @property
    def offsets(self) -> Sequence[int]:
        return self._pdf.offsets

    @property
    def room(self) -> int:
        """How many labels fit on the next page."""
        return len(self._origins) - self._skipped

    @property
    def _skipped(self) -> int:
        return self._printing.start_at - 1 if self._labels == 0 else 0

    def page(self, labels: Sequence[PlacedLabel]) -> bytes:
        origins, printing = self._origins[self._skipped :], self._printing
        self._labels += len(labels)
        if printing.file_format is FileFormat.PDF:
            return self._pdf.page(pdf.draw_page(labels, origins, printing.calibration))
        size = printing.label_format.page
        return zpl.draw_row(size, labels, origins, dpi=printing.dpi, calibration=printing.calibration)

    def close(self) -> bytes:
        return self._pdf.close() if self._printing.file_format is FileFormat.PDF else b""


def write_labels(printing: Printing, labels: Iterable[PlacedLabel]) -> Iterator[bytes]:
    """Writes a complete file."""
    writer, waiting = LabelWriter(printing), iter(labels)
    while page := list(islice(waiting, writer.room)):
        yield writer.page(page)
    yield writer.close()
