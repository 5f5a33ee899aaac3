"""Label printers over HTTP."""

from uuid import UUID

from fastapi import APIRouter

from qrtrack.domain.errors import NotFound
from qrtrack.domain.labels.printers import PrinterNameTaken, PrintingOff, TooManyPrinters
from qrtrack.repositories.labels.printers import ListedPrinter
from qrtrack.routers.bodies import StrictRoute
from qrtrack.routers.dependencies import BatchManager, Packer, RuntimeState
from qrtrack.routers.idempotency import AnsweringDatabase
from qrtrack.routers.problems import problems
from qrtrack.schemas.labels.printers import (
    PRINTERS_PATH,
    PrinterAnswer,
    PrinterChange,
    PrinterDeleted,
    PrinterList,
    PrinterRequest,
)
from qrtrack.services.labels import printers as use_cases
from qrtrack.services.labels.printers import networks_of

router = APIRouter(route_class=StrictRoute, prefix=PRINTERS_PATH, tags=["labels"])


@router.get("", summary="List printers")
async def list_printers(caller: Packer, runtime: RuntimeState) -> PrinterList:
    """Lists the printers, how many print jobs wait for each, and why. `printing` is `off` if `PRINTER_NETWORKS` is
    empty on this server.
    """
    async with runtime.database.read(tenant=caller.organisation_id) as repositories:
        printers = await repositories.printers.list()
    return PrinterList.listing(printers, is_on=bool(networks_of(runtime.settings)))


@router.post(
    "",
    status_code=201,
    response_model=PrinterAnswer,
    summary="Add a printer",
    responses=problems(PrintingOff, PrinterNameTaken, TooManyPrinters),
)
async def add_printer(
    body: PrinterRequest, caller: BatchManager, runtime: RuntimeState, database: AnsweringDatabase
) -> ListedPrinter:
    """Stores a printer that takes raw labels at a TCP port. Its address must lie in `PRINTER_NETWORKS`. The service
    looks a name up once, now, and prints to the IP address that it finds: give printers fixed addresses.
    """
    return await use_cases.add_printer(
        database, caller=caller, networks=networks_of(runtime.settings), new=body.new_printer()
    )


@router.patch(
    "/{printer_id}",
    response_model=PrinterAnswer,
    summary="Change a printer",
    responses=problems(NotFound, PrintingOff, PrinterNameTaken),
)
async def change_printer(
    printer_id: UUID, body: PrinterChange, caller: BatchManager, runtime: RuntimeState, database: AnsweringDatabase
) -> ListedPrinter:
    """Changes the fields that are sent. Print jobs that wait are printed with the new values."""
    return await use_cases.change_printer(
        database,
        caller=caller,
        networks=networks_of(runtime.settings),
        printer_id=printer_id,
        changes=body.changes(),
    )


@router.delete("/{printer_id}", summary="Delete a printer", responses=problems(NotFound))
async def delete_printer(printer_id: UUID, caller: BatchManager, runtime: RuntimeState) -> PrinterDeleted:
    """Deletes the printer and all its print jobs, also those that wait."""
    await use_cases.delete_printer(runtime.database, caller=caller, printer_id=printer_id)
    return PrinterDeleted(printer_id=printer_id)
