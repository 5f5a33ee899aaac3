"""Stores, lists and deletes label printers. Printing is in print_jobs.py and printing.py."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

from uuid_utils.compat import uuid7

from qrtrack.database import Database
from qrtrack.domain.identity import Caller
from qrtrack.domain.labels.documents import FileFormat
from qrtrack.domain.labels.formats import Calibration
from qrtrack.domain.labels.label_jobs import PRESET_OF, Labelled, NewLabelJob
from qrtrack.domain.labels.printers import (
    PRINTERS_OF_ORGANISATION,
    SPECIAL,
    Address,
    NewPrinter,
    PrinterAddress,
    PrinterNetworks,
    PrintingOff,
    TooManyPrinters,
    written_address,
)
from qrtrack.domain.labels.zpl import Dpi
from qrtrack.integrations.printers import resolve
from qrtrack.models import Printer
from qrtrack.repositories import Repositories
from qrtrack.repositories.labels.printers import ListedPrinter
from qrtrack.services.labels.label_plans import choose_printing
from qrtrack.settings import Settings


def networks_of(settings: Settings) -> PrinterNetworks:
    return PrinterNetworks(settings.print_networks)


def claim_values(settings: Settings) -> dict[str, list[str]]:
    """Returns the parameters of the statement that claims print jobs: it claims only jobs of printers in these
    networks.
    """
    networks = networks_of(settings)
    listed = {"listed": networks.listed, "opened": networks.opened, "special": SPECIAL}
    return {name: [str(network) for network in some] for name, some in listed.items()}


async def add_printer(
    database: Database, *, caller: Caller, networks: PrinterNetworks, new: NewPrinter
) -> ListedPrinter:
    """Raises PrintingOff, InvalidInput, TooManyPrinters, PrinterNameTaken."""
    ip = await find_address(networks, new.address)
    printer = Printer(id=uuid7(), manufacturer_org_id=caller.organisation_id, created_by=caller.user_id)
    async with database.write(tenant=caller.organisation_id) as repositories:
        await repositories.printers.lock_all(caller.organisation_id)
        if await repositories.printers.count() >= PRINTERS_OF_ORGANISATION:
            raise TooManyPrinters
        await _set(repositories, printer, new, ip)
        await repositories.printers.store(printer)
        await repositories.trace.add("printer.added", **_traced(caller, printer))
        return repositories.answer(await repositories.printers.view(printer.id))


async def change_printer(
    database: Database, *, caller: Caller, networks: PrinterNetworks, printer_id: UUID, changes: Mapping[str, Any]
) -> ListedPrinter:
    """Changes a printer. `changes` maps names of fields of NewPrinter to new values. Print jobs that wait are printed
    with the new values.

    Raises NotFound, PrintingOff, InvalidInput, PrinterNameTaken.
    """
    ip = await find_address(networks, changes["address"]) if "address" in changes else None
    async with database.write(tenant=caller.organisation_id) as repositories:
        await repositories.printers.lock_all(caller.organisation_id)
        printer = await repositories.printers.lock(printer_id)
        await _set(repositories, printer, replace(_as_stored(printer), **changes), ip or printer.ip)
        await repositories.printers.store(printer)
        await repositories.trace.add("printer.changed", **_traced(caller, printer))
        return repositories.answer(await repositories.printers.view(printer_id))


async def delete_printer(database: Database, *, caller: Caller, printer_id: UUID) -> None:
    """Deletes its print jobs as well; their trace events stay. Raises NotFound."""
    async with database.write(tenant=caller.organisation_id) as repositories:
        printer = await repositories.printers.lock(printer_id)
        await repositories.trace.add("printer.deleted", **_traced(caller, printer))
        await repositories.printers.delete(printer_id)


async def find_address(networks: PrinterNetworks, address: PrinterAddress) -> Address:
    """Resolves the name once. The service stores and connects to the address that is checked here, so that DNS
    rebinding is useless.

    Raises PrintingOff, InvalidInput.
    """
    if not networks:
        raise PrintingOff
    return networks.choose(address.host, await resolve(address.host, address.port))


def as_label_job(printer: NewPrinter) -> NewLabelJob:
    """Returns the request for a case's label on this printer."""
    return NewLabelJob(
        what=Labelled.CASES,
        file_format=printer.file_format,
        preset=printer.preset,
        dpi=printer.dpi,
        calibration=printer.calibration,
    )


async def _set(repositories: Repositories, printer: Printer, new: NewPrinter, ip: Address) -> None:
    """Copies the values into the row. Raises InvalidInput for a preset that does not exist, or does not fit the kind of
    printer.
    """
    await choose_printing(repositories, new.preset or PRESET_OF[Labelled.CASES, FileFormat.ZPL], as_label_job(new))
    printer.name = new.name
    printer.host, printer.port = new.address.host, new.address.port
    printer.ip = ip
    printer.file_format = new.file_format
    printer.dpi = new.dpi
    printer.preset = new.preset
    printer.stations = list(new.stations)
    printer.calibration = asdict(new.calibration)
    printer.updated_at = datetime.now(UTC)


def _traced(caller: Caller, printer: Printer) -> dict[str, Any]:
    address = written_address(printer.host, printer.port)
    details = {"printer_id": printer.id, "printer_name": printer.name, "address": address}
    return {"caller": caller, "details": details}


def _as_stored(printer: Printer) -> NewPrinter:
    return NewPrinter(
        name=printer.name,
        address=PrinterAddress(printer.host, printer.port),
        file_format=FileFormat(printer.file_format),
        dpi=cast("Dpi", printer.dpi),
        stations=printer.stations,
        preset=printer.preset,
        calibration=Calibration(**printer.calibration),
    )
