"""Label printers of an organisation."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import delete, func, select

from qrtrack.domain.errors import NotFound
from qrtrack.models import Printer
from qrtrack.repositories.base import Repository

# An advisory lock: without it, two concurrent requests would both find room for one more printer.
LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"


class PrinterRepository(Repository):
    async def list(self) -> Sequence[Printer]:
        """Lists the printers by name."""
        return (await self._session.scalars(select(Printer).order_by(Printer.name))).all()

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

    async def lock_and_count(self, organisation_id: UUID) -> int:
        """Returns how many printers the organisation has. Nobody can add one until the end of the transaction."""
        await self._fetch_value(LOCK, name=f"printers {organisation_id}")
        return await self._session.scalar(select(func.count()).select_from(Printer)) or 0

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
    return NotFound(
        f"There is no printer {printer_id} in your organisation. `GET /api/manufacturer/printers` lists them."
    )
