"""What a batch holds: its codes with or without their root keys, its cases, and whether all of it adds up."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from qrtrack.database import Database
from qrtrack.domain.identity import Caller
from qrtrack.domain.packing.batches import BatchNotReady
from qrtrack.domain.packing.code_ranges import as_ranges
from qrtrack.domain.packing.numbering import serial
from qrtrack.domain.root_keys import KeyRing
from qrtrack.models import Batch


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """Every code of the batch counted once, by the first place that fits, in this order.

    `void` are those that a person voided. `differences` are the serials that fit nowhere: always empty.
    """

    batch_id: UUID
    generated: int
    void: int
    in_case: int
    scanned_without_case: int
    prepared: int
    excluded: int
    voided_by_closing: int
    remaining: int
    differences: Sequence[str]


async def reconcile_batch(database: Database, *, caller: Caller, batch_id: UUID) -> Reconciliation:
    async with database.read(tenant=caller.organisation_id) as repositories:
        batch = await repositories.batches.get(batch_id)
        if batch.codes_created_at is None:
            raise BatchNotReady(batch.status)
        found = await repositories.batches.reconcile(batch_id)
    return Reconciliation(
        batch_id=batch_id,
        generated=batch.quantity,
        void=found.void,
        in_case=found.in_case,
        scanned_without_case=found.scanned,
        prepared=found.prepared,
        excluded=found.excluded,
        voided_by_closing=found.voided_by_closing,
        remaining=found.remaining,
        differences=sorted([*found.unaccounted, *(_serial_of(batch, number) for number in found.missing)]),
    )


def _serial_of(batch: Batch, sequence_number: int) -> str:
    """What a code that is not there would be called; a random or imported one only has its place."""
    if batch.serial_prefix is None or batch.first_number is None:
        return f"number {sequence_number} of the batch"
    return serial(batch.serial_prefix, batch.first_number + sequence_number - 1)


@dataclass(frozen=True, slots=True)
class ListedCode:
    """`root_key` is None unless it was asked for, and after the keys were forgotten."""

    code: str
    sequence_number: int
    uniq_code: str
    variant: str | None
    status: str
    master_code: str | None
    case_number: int | None
    root_key: str | None = None


async def list_codes(
    database: Database,
    *,
    caller: Caller,
    batch_id: UUID,
    status: str | None = None,
    prefix: str | None = None,
    after: int,
    limit: int,
) -> Sequence[ListedCode]:
    async with database.read(tenant=caller.organisation_id) as repositories:
        batch = await repositories.batches.get(batch_id)
        rows = await repositories.codes.of_batch(
            batch_id, status=status, prefix=prefix, after=after, limit=limit, with_keys=False
        )
    return [_listed(batch, row) for row in rows]


async def reveal_codes(
    database: Database,
    *,
    caller: Caller,
    keys: KeyRing,
    batch_id: UUID,
    status: str | None = None,
    prefix: str | None = None,
    after: int,
    limit: int,
) -> Sequence[ListedCode]:
    """The codes with their clear root keys; who looked at which is traced in the same transaction."""
    async with database.write(tenant=caller.organisation_id) as repositories:
        batch = await repositories.batches.get(batch_id)
        rows = await repositories.codes.of_batch(
            batch_id, status=status, prefix=prefix, after=after, limit=limit, with_keys=True
        )
        if rows:
            await repositories.trace.add(
                "keys.revealed",
                organisation_id=caller.organisation_id,
                actor=caller.user_id,
                batch_id=batch_id,
                ranges=as_ranges(row.sequence_number for row in rows),
            )
    return [
        _listed(
            batch,
            row,
            None
            if row.root_key_sealed is None
            else keys.unseal(batch_id, row.sequence_number, bytes(row.root_key_sealed)),
        )
        for row in rows
    ]


def _listed(batch: Batch, row: Any, root_key: str | None = None) -> ListedCode:
    return ListedCode(
        code=row.code,
        sequence_number=row.sequence_number,
        uniq_code=batch.uniq_code,
        variant=row.variant,
        status=row.status,
        master_code=row.master_code,
        case_number=row.case_number,
        root_key=root_key,
    )


async def list_cases(
    database: Database,
    *,
    caller: Caller,
    batch_id: UUID,
    status: str | None,
    variant: str | None = None,
    after: int,
    limit: int,
) -> Sequence[Any]:
    async with database.read(tenant=caller.organisation_id) as repositories:
        await repositories.batches.get(batch_id)
        return await repositories.cases.of_batch(batch_id, status=status, variant=variant, after=after, limit=limit)
