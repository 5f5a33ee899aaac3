"""Exports the codes, the cases and the reconciliation of a batch, and the codes that a job prepared."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple
from uuid import UUID

from qrtrack.database import Database
from qrtrack.domain.exports import Column, FileType, file_name
from qrtrack.domain.identity import Caller
from qrtrack.domain.packing.exports import CASES, CODES, DIFFERENCES, PAYLOAD, PLACES, PREPARED, ROOT_KEY
from qrtrack.domain.qr import printed, unit_payload
from qrtrack.domain.root_keys import KeyRing
from qrtrack.exports import Delimiter, Derive, ExportedFile, Exports, Spool, Table, exported
from qrtrack.models import Batch
from qrtrack.repositories.packing.reconciliation import Reconciliation
from qrtrack.services.printed_hosts import record_symbol


class Wanted(NamedTuple):
    """The file that the caller asks for."""

    file_type: FileType
    delimiter: Delimiter = ","

    def spool(self, columns: Sequence[Column]) -> Spool:
        return Spool(columns, self.delimiter, quotes_formulas=self.file_type is FileType.CSV)


async def export_codes(
    database: Database,
    exports: Exports,
    *,
    caller: Caller,
    batch_id: UUID,
    wanted: Wanted,
    reveal: KeyRing | None = None,
    base_url: str | None = None,
) -> ExportedFile:
    """Exports all codes in serial order. `reveal` adds the clear root keys; a trace event records who took them.
    `base_url` adds the content of the units' symbols.

    Raises NotFound, BatchNotReady, SealBroken.
    """
    open_transaction = database.write if reveal else database.read
    async with exports.lock(caller.organisation_id):
        with wanted.spool(CODES) as spool:
            async with open_transaction(tenant=caller.organisation_id) as repositories:
                batch = await repositories.batches.get_created(batch_id)
                if reveal:
                    await repositories.trace.add(
                        "keys.revealed", caller=caller, batch_id=batch_id, ranges=[(1, batch.quantity)]
                    )
                await repositories.exports.copy_codes(batch_id, spool.target, with_keys=reveal is not None)
            if base_url is not None:
                # Exported payloads are printed elsewhere, so their host must be recorded like that of printed labels.
                await record_symbol(database, base_url, caller.organisation_id)
        columns, derive = _derived(batch, reveal, base_url)
        content = await exports.finish(spool, columns, file_type=wanted.file_type, name="codes", derive=derive)
    what = "codes-with-root-keys" if reveal else "codes"
    return exported(file_name(what, batch.product_name, batch.uniq_code, file_type=wanted.file_type), content)


def _derived(batch: Batch, reveal: KeyRing | None, base_url: str | None) -> tuple[Sequence[Column], Derive | None]:
    """Returns the columns of the file, and the function that derives its rows if the copied rows are not enough."""
    columns: list[Column] = list(CODES)
    cells: list[Callable[[list[str]], str]] = []
    if reveal is not None:
        columns.append(ROOT_KEY)
        cells.append(_root_key(reveal, batch.id))
    if base_url is not None:
        columns.append(PAYLOAD)
        cells.append(_payload(batch, base_url))
    if not cells:
        return columns, None

    def derive(rows: Iterator[list[str]]) -> Iterator[list[str]]:
        return ([*row[: len(CODES)], *(cell(row) for cell in cells)] for row in rows)

    return columns, derive


def _root_key(keys: KeyRing, batch_id: UUID) -> Callable[[list[str]], str]:
    """Opens the sealed key (hex) in the last cell of a row. Returns an empty text if the row has no key, or if the keys
    were deleted.
    """

    def unseal(row: list[str]) -> str:
        return keys.unseal(batch_id, int(row[1]), bytes.fromhex(row[-1])) if row[-1] else ""

    return unseal


def _payload(batch: Batch, base_url: str) -> Callable[[list[str]], str]:
    def payload(row: list[str]) -> str:
        address = unit_payload(
            base_url, batch.uniq_code, row[0], gtin=batch.gtin, lot=batch.lot, expires_on=batch.expires_on
        )
        return printed(address)

    return payload


async def export_cases(
    database: Database, exports: Exports, *, caller: Caller, batch_id: UUID, wanted: Wanted
) -> ExportedFile:
    """Exports all cases in the order of their numbers. Raises NotFound, BatchNotReady."""
    async with exports.lock(caller.organisation_id):
        with wanted.spool(CASES) as spool:
            async with database.read(tenant=caller.organisation_id) as repositories:
                batch = await repositories.batches.get_created(batch_id)
                await repositories.exports.copy_cases(batch_id, spool.target)
        content = await exports.finish(spool, CASES, file_type=wanted.file_type, name="cases")
    return exported(file_name("cases", batch.product_name, batch.uniq_code, file_type=wanted.file_type), content)


async def export_prepared(
    database: Database, exports: Exports, *, caller: Caller, job_id: UUID, wanted: Wanted
) -> ExportedFile:
    """Exports the codes that the job put into the queue, in that order. Raises NotFound."""
    async with exports.lock(caller.organisation_id):
        with wanted.spool(PREPARED) as spool:
            async with database.read(tenant=caller.organisation_id) as repositories:
                job = await repositories.reverse_jobs.get(job_id)
                batch = await repositories.batches.get(job.batch_id)
                await repositories.exports.copy_prepared(job_id, spool.target)
        content = await exports.finish(spool, PREPARED, file_type=wanted.file_type, name="prepared")
    parts = ("prepared", batch.product_name, batch.uniq_code, str(job_id))
    return exported(file_name(*parts, file_type=wanted.file_type), content)


async def export_reconciliation(
    database: Database, exports: Exports, *, caller: Caller, batch_id: UUID
) -> ExportedFile:
    """Exports the reconciliation. A second sheet lists codes that fit no place.

    Raises NotFound, BatchNotReady.
    """
    async with exports.lock(caller.organisation_id):
        async with database.read(tenant=caller.organisation_id) as repositories:
            batch = await repositories.batches.get_created(batch_id)
            counted = await repositories.reconciliation.count(batch_id)
        places = Table("reconciliation", PLACES, _places(batch, counted))
        differences = Table("differences", DIFFERENCES, [(code,) for code in counted.differences])
        content = await exports.write_xlsx([places, differences])
    name = file_name("reconciliation", batch.product_name, batch.uniq_code, file_type=FileType.XLSX)
    return exported(name, content)


COUNTED = (
    "generated", "void", "in_case", "scanned_without_case", "prepared", "excluded", "voided_by_closing", "remaining",
)  # fmt: skip


def _places(batch: Batch, counted: Reconciliation) -> list[tuple[str, str, str, int]]:
    return [(batch.uniq_code, batch.product_name, place, getattr(counted, place)) for place in COUNTED]
