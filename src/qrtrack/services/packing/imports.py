"""Imports a file of codes that were printed elsewhere, as a batch."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from uuid_utils.compat import uuid7

from qrtrack.database import Database
from qrtrack.domain.identity import Caller
from qrtrack.domain.packing.batches import SerialMode
from qrtrack.domain.packing.imports import ImportedCodes
from qrtrack.domain.packing.numbering import uniq_code
from qrtrack.domain.packing.states import BatchStatus
from qrtrack.domain.root_keys import KeyRing
from qrtrack.models import Batch
from qrtrack.repositories import Repositories
from qrtrack.services.packing.batches import CREATING_CHUNK, CreatedBatch
from qrtrack.services.packing.code_creation import queue_hashing
from qrtrack.services.packing.gtin_owners import claim_gtin


@dataclass(frozen=True, slots=True)
class BatchImport:
    """The data of an imported batch besides its codes."""

    order_id: UUID
    product_name: str
    units_per_case: int
    gtin: str | None
    lot: str | None


async def import_batch(
    database: Database, *, caller: Caller, keys: KeyRing, new: BatchImport, imported: ImportedCodes
) -> CreatedBatch:
    """Imports all codes of the file in one transaction, or none.

    Raises one InvalidInput that names the bad rows, GtinTaken.
    """
    if imported.mistakes:
        async with database.read(tenant=caller.organisation_id) as repositories:
            raise imported.refusal(await _taken(repositories, imported.codes))
    batch_id = uuid7()
    digests, sealed = await asyncio.to_thread(_protect, keys, batch_id, imported.root_keys)
    with_keys = sum(digest is not None for digest in digests)
    async with database.write(tenant=caller.organisation_id) as repositories:
        await repositories.code_creation.lock_imports(caller.organisation_id)
        await claim_gtin(repositories, caller, new.gtin)
        await repositories.numbering.skip_numbers(caller.organisation_id, imported.highest_numbers)
        if taken := await _taken(repositories, imported.codes):
            raise imported.refusal(taken)
        batch = await _add(repositories, caller, new, imported, batch_id, with_keys=with_keys)
        await _insert_codes(repositories, batch, imported, digests, sealed)
        if with_keys:
            await queue_hashing(repositories, batch_id, caller.organisation_id, batch.quantity)
        await repositories.trace.add(
            "batch.imported",
            caller=caller,
            batch_id=batch_id,
            ranges=[(1, batch.quantity)],
            details={"order_id": new.order_id},
        )
        return repositories.answer(
            CreatedBatch(
                batch_id=batch_id,
                status=BatchStatus.HASHING if with_keys else BatchStatus.READY,
                quantity=batch.quantity,
                uniq_code=batch.uniq_code,
                first_code=imported.codes[0],
                last_code=imported.codes[-1],
            )
        )


async def _add(
    repositories: Repositories,
    caller: Caller,
    new: BatchImport,
    imported: ImportedCodes,
    batch_id: UUID,
    *,
    with_keys: int,
) -> Batch:
    batch = Batch(
        id=batch_id,
        manufacturer_org_id=caller.organisation_id,
        order_id=new.order_id,
        uniq_code=uniq_code(),
        product_name=new.product_name,
        quantity=len(imported.codes),
        keys_to_hash=with_keys,
        units_per_case=new.units_per_case,
        serial_mode=SerialMode.IMPORTED,
        key_length=max((len(key) for key in imported.root_keys if key), default=0),
        gtin=new.gtin,
        lot=new.lot,
        status=BatchStatus.CREATING,
        created_by=caller.user_id,
    )
    await repositories.batches.add(batch, imported.variants)
    return batch


async def _insert_codes(
    repositories: Repositories,
    batch: Batch,
    imported: ImportedCodes,
    digests: Sequence[bytes | None],
    sealed: Sequence[bytes | None],
) -> None:
    """Inserts the codes and the cases, and counts them."""
    for first in range(0, batch.quantity, CREATING_CHUNK):
        part = slice(first, first + CREATING_CHUNK)
        await repositories.code_creation.insert_imported(
            batch.id,
            batch.manufacturer_org_id,
            first_sequence=first + 1,
            codes=imported.codes[part],
            digests=digests[part],
            sealed=sealed[part],
        )
    await repositories.batches.count_created(batch.id, batch.quantity)
    await repositories.batches.add_cases(batch.id)
    await repositories.batches.count_hashed(batch.id, 0)


async def _taken(repositories: Repositories, codes: Sequence[str]) -> list[str]:
    """Queries the codes in parts: encoding a million codes at once would block the event loop."""
    parts = [codes[first : first + CREATING_CHUNK] for first in range(0, len(codes), CREATING_CHUNK)]
    return [code for part in parts for code in await repositories.code_creation.taken(part)]


def _protect(
    keys: KeyRing, batch_id: UUID, root_keys: Sequence[str | None]
) -> tuple[list[bytes | None], list[bytes | None]]:
    digests: list[bytes | None] = [None] * len(root_keys)
    sealed: list[bytes | None] = [None] * len(root_keys)
    given = {number: key for number, key in enumerate(root_keys, 1) if key is not None}
    prepared = keys.prepare(batch_id, list(given), list(given.values()))
    for number, digest, seal in zip(given, *prepared, strict=True):
        digests[number - 1], sealed[number - 1] = digest, seal
    return digests, sealed
