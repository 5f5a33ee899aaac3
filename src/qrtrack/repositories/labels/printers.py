"""Label printers of an organisation."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import delete, func, select

from qrtrack.domain.errors import NotFound
from qrtrack.domain.labels.documents import FileFormat
from qrtrack.domain.labels.printers import written_address
from qrtrack.models import Printer
from qrtrack.repositories.base import Repository
from qrtrack.repositories.case_prints import NOT_PRINTED_LATER

SELECT = f"""
SELECT printer.id AS printer_id, printer.name, printer.host, printer.port, host(printer.ip) AS ip,
       printer.file_format AS format, printer.dpi, printer.preset, printer.stations, printer.calibration,
       printer.created_by, printer.created_at, printer.updated_at,
       state.waiting_count, state.unknown_count, state.error_message,
       EXISTS (SELECT FROM print_jobs WHERE printer_id = printer.id AND status = 'completed') AS has_printed
FROM printers AS printer
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE status IN ('queued', 'running'))::int AS waiting_count,
           count(*) FILTER (WHERE status = 'unknown' AND {NOT_PRINTED_LATER})::int AS unknown_count,
           (array_agg(error_message ORDER BY id) FILTER (WHERE status IN ('queued', 'running')))[1] AS error_message
    FROM print_jobs AS job
    WHERE printer_id = printer.id
      AND (status IN ('queued', 'running') OR finished_at > now() - interval '1 day')) AS state
"""
LIST = f"""
{SELECT}
ORDER BY printer.name
"""
GET = f"""
{SELECT}
WHERE printer.id = :printer_id
"""
NAMES_WITH_FORMAT = """
SELECT name
FROM printers
WHERE preset = :preset AND file_format = ANY(CAST(:kinds AS text[]))
ORDER BY name
"""


class ListedPrinter(NamedTuple):
    """A printer with its print jobs: how many have not ended, why the first of them waits, and how many of the last
    24 hours are unknown and were not printed again.

    `has_printed` says that one of its stored print jobs has completed.
    """

    printer_id: UUID
    name: str
    host: str
    port: int
    ip: str
    format: str
    dpi: int
    preset: str | None
    stations: Sequence[str]
    calibration: Mapping[str, float]
    created_by: str
    created_at: datetime
    updated_at: datetime
    waiting_count: int
    unknown_count: int
    error_message: str | None
    has_printed: bool

    @property
    def address(self) -> str:
        return written_address(self.host, self.port)


class PrinterRepository(Repository):
    async def list(self) -> Sequence[ListedPrinter]:
        """Lists the printers by name."""
        return await self._fetch_all(ListedPrinter, LIST)

    async def view(self, printer_id: UUID) -> ListedPrinter:
        """Raises NotFound."""
        return await self._fetch_existing(ListedPrinter, GET, no_such_printer(printer_id), printer_id=printer_id)

    async def get(self, printer_id: UUID) -> Printer:
        """Raises NotFound."""
        printer = await self._session.scalar(select(Printer).where(Printer.id == printer_id))
        if printer is None:
            raise no_such_printer(printer_id)
        return printer

    async def lock(self, printer_id: UUID) -> Printer:
        """Locks the row until the end of the transaction. Raises NotFound."""
        printer = await self._session.scalar(select(Printer).where(Printer.id == printer_id).with_for_update())
        if printer is None:
            raise no_such_printer(printer_id)
        return printer

    async def lock_all(self, organisation_id: UUID) -> None:
        """Nobody can add or change a printer of the organisation until the end of the transaction."""
        await self._lock(f"printers {organisation_id}")

    async def count(self) -> int:
        return await self._session.scalar(select(func.count()).select_from(Printer)) or 0

    async def names_with_format(self, preset: str, kinds: Sequence[FileFormat]) -> Sequence[str]:
        """Returns the names of the printers of these kinds that use the label format."""
        return await self._fetch_values(str, NAMES_WITH_FORMAT, preset=preset, kinds=list(kinds))

    async def store(self, printer: Printer) -> None:
        """Raises PrinterNameTaken."""
        self._session.add(printer)
        await self._session.flush()

    async def delete(self, printer_id: UUID) -> None:
        """Deletes its print jobs as well. Raises NotFound."""
        deleted = await self._session.scalar(delete(Printer).where(Printer.id == printer_id).returning(Printer.id))
        if deleted is None:
            raise no_such_printer(printer_id)


def no_such_printer(printer_id: UUID) -> NotFound:
    return NotFound(f"There is no printer {printer_id} in your organisation. List the printers.")
