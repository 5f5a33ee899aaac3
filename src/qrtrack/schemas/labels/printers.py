"""Label printers over HTTP: what a manager stores, and what the service shows of each printer."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints

from qrtrack.domain.labels.documents import FileFormat
from qrtrack.domain.labels.formats import Calibration
from qrtrack.domain.labels.printers import ADDRESS_PATTERN, NewPrinter, PrinterAddress
from qrtrack.repositories.labels.printers import ListedPrinter
from qrtrack.schemas.base import Answer, Body, Instant, Name, View
from qrtrack.schemas.labels.label_formats import FormatName
from qrtrack.schemas.labels.label_jobs import CalibrationRequest

PRINTERS_PATH: Final = "/api/manufacturer/printers"

Address = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=260, pattern=ADDRESS_PATTERN),
    Field(description="`host:port`, the port from 9100 to 9109. IPv6 stands in brackets."),
]
Stations = Annotated[
    list[Name],
    Field(max_length=100, description="The printer prints the labels of the cases that these stations pack."),
]


class PrinterChange(Body):
    """The fields to change; all others keep their values. If `address` is sent, its name is looked up again."""

    model_config = ConfigDict(json_schema_extra={"example": {"address": "192.0.2.8:9100", "stations": ["line-1"]}})

    name: Name | None = None
    address: Address | None = None
    format: Literal["pdf", "zpl"] | None = None
    dpi: Literal[203, 300, 600] | None = None
    preset: FormatName | None = Field(None, description="The label format of case labels. Null means `roll-100x150`.")
    stations: Stations | None = None
    calibration: CalibrationRequest | None = None

    def changes(self) -> Mapping[str, Any]:
        """Returns the sent fields with their values, by the names of NewPrinter. Null resets `preset`; for all other
        fields null means "not sent".
        """
        given = {name for name in self.model_fields_set if name == "preset" or getattr(self, name) is not None}
        plain: dict[str, Any] = {name: getattr(self, name) for name in given & {"name", "dpi", "preset", "stations"}}
        if self.address is not None:
            plain["address"] = PrinterAddress.parse(self.address)
        if self.format is not None:
            plain["file_format"] = FileFormat(self.format)
        if self.calibration is not None:
            plain["calibration"] = Calibration(**self.calibration.model_dump())
        return plain


class PrinterRequest(PrinterChange):
    """A printer that takes raw labels at a TCP port."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "name": "Line 1", "address": "192.0.2.7:9100", "format": "zpl", "dpi": 203, "stations": ["line-1"],
            }
        }
    )  # fmt: skip

    name: Name
    address: Address

    def new_printer(self) -> NewPrinter:
        return NewPrinter(**self.changes())


class ShownCalibration(View):
    """The stored correction of the printer."""

    dx: float
    dy: float
    scale_x: float
    scale_y: float


class ShownPrinter(View):
    """A printer with the state of its print jobs."""

    printer_id: UUID
    name: str
    address: str
    ip: str = Field(
        description="The IP address that the service prints to. `address` was looked up when it was stored."
    )
    format: FileFormat
    dpi: int
    preset: str | None
    stations: list[str]
    calibration: ShownCalibration
    waiting_count: int = Field(description="Print jobs that have not ended.")
    unknown_count: int = Field(
        description="Print jobs of the last 24 hours that are `unknown` and were not reprinted: their labels may be "
        "printed or not."
    )
    error_message: str | None = Field(
        description="Why the first print job waits, for example because the printer is away or its paper is out; null "
        "if its last attempt did not fail."
    )
    created_by: str
    created_at: Instant
    updated_at: Instant


class PrinterAnswer(ShownPrinter, Answer):
    """The printer as it is stored."""


class PrinterList(Answer):
    """All printers of the organisation, by name."""

    printing: Literal["on", "off"] = Field(description="`off` if PRINTER_NETWORKS is empty on the server that answers.")
    printers: list[ShownPrinter]

    @classmethod
    def listing(cls, printers: Sequence[ListedPrinter], *, is_on: bool) -> Self:
        shown = [ShownPrinter.model_validate(printer) for printer in printers]
        return cls(printing="on" if is_on else "off", printers=shown)


class PrinterDeleted(Answer):
    """The printer and its print jobs are deleted."""

    printer_id: UUID
