"""Batches, their variants, and their progress."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import select

from qrtrack.domain.batches import BatchNotReady, no_such_batch
from qrtrack.domain.packing.batches import BatchClosed, Variant
from qrtrack.domain.packing.case_packing import OrderMismatch
from qrtrack.domain.packing.states import CodeStatus
from qrtrack.models import Batch, BatchVariant
from qrtrack.repositories.base import Repository

# Cases are numbered variant by variant. The last case of each variant holds the remaining units.
ADD_CASES = """
INSERT INTO qr_master_codes (batch_id, manufacturer_org_id, master_code, case_number, variant, expected_units)
SELECT batch_id, manufacturer_org_id,
       uniq_code || '-C' || lpad(number::text, GREATEST(4, length(number::text)), '0'), number, variant, units
FROM (SELECT batch.id AS batch_id, batch.manufacturer_org_id, batch.uniq_code, run.variant,
             row_number() OVER (ORDER BY first) AS number,
             LEAST(batch.units_per_case, run.last_sequence - first + 1) AS units
      FROM qr_batches AS batch
      JOIN qr_batch_variants AS run ON run.batch_id = batch.id
      CROSS JOIN LATERAL generate_series(run.first_sequence, run.last_sequence, batch.units_per_case) AS first
      WHERE batch.id = :batch_id) AS boxes
ORDER BY number
"""

COUNT_CREATED = """
UPDATE qr_batches
SET items_created = items_created + :created, updated_at = now(),
    codes_created_at = CASE WHEN items_created + :created = quantity THEN clock_timestamp() END,
    status = CASE WHEN items_created + :created = quantity THEN 'hashing' ELSE status END
WHERE id = :batch_id AND status = 'creating'
RETURNING items_created, quantity, codes_created_at IS NOT NULL AS complete
"""

COUNT_HASHED = """
UPDATE qr_batches
SET keys_hashed = keys_hashed + :hashed, updated_at = now(),
    ready_at = CASE WHEN keys_hashed + :hashed = keys_to_hash THEN COALESCE(ready_at, clock_timestamp()) END,
    error_message = CASE WHEN keys_hashed + :hashed = keys_to_hash THEN NULL ELSE error_message END,
    status = CASE WHEN keys_hashed + :hashed = keys_to_hash THEN 'ready' ELSE status END
WHERE id = :batch_id
RETURNING keys_hashed, keys_to_hash
"""

LOCK = "SELECT 1 FROM qr_batches WHERE id = :batch_id FOR NO KEY UPDATE"

HAS_NO_CODES_YET = "SELECT codes_created_at IS NULL FROM qr_batches WHERE id = :batch_id"
DELETE_CODES = "DELETE FROM qr_codes WHERE batch_id = :batch_id"
FAIL = """
UPDATE qr_batches
SET status = 'failed', error_message = :reason, updated_at = now(),
    items_created = CASE WHEN codes_created_at IS NULL THEN 0 ELSE items_created END
WHERE id = :batch_id
"""

RESUME = """
UPDATE qr_batches
SET status = CASE WHEN codes_created_at IS NULL THEN 'creating' ELSE 'hashing' END,
    error_message = NULL, updated_at = now()
WHERE id = :batch_id AND status = 'failed'
"""

VARIANTS = """
SELECT variant, last_sequence - first_sequence + 1 AS quantity
FROM qr_batch_variants
WHERE batch_id = :batch_id AND variant IS NOT NULL
ORDER BY first_sequence
"""

# A constraint keeps digests unique in the batch, so counting them counts distinct root keys. A code has the uniq code
# of its batch, so all codes together have one; a batch without codes has none.
COUNTS = """
SELECT codes.*, cases.*,
       (SELECT count(DISTINCT uniq_code) FROM qr_batches AS batch
        WHERE id = :batch_id AND EXISTS (SELECT FROM qr_codes WHERE batch_id = batch.id)) AS unique_uniq_codes
FROM (SELECT count(*) AS total_items, count(root_key_digest) AS unique_root_keys,
             count(*) FILTER (WHERE status = 'generated') AS generated,
             count(*) FILTER (WHERE status = 'printed') AS printed,
             count(*) FILTER (WHERE status = 'packed') AS packed,
             count(*) FILTER (WHERE status = 'scanned') AS scanned,
             count(*) FILTER (WHERE status = 'redeemed') AS redeemed,
             count(*) FILTER (WHERE status = 'void') AS void
      FROM qr_codes WHERE batch_id = :batch_id) AS codes,
     (SELECT count(*) AS cases_total, count(*) FILTER (WHERE status = 'packed') AS cases_packed
      FROM qr_master_codes WHERE batch_id = :batch_id) AS cases
"""

# The keys of the chunks that were hashed in the last two minutes, divided by the time since the first of them began.
HASHING_RATE = """
SELECT (sum(last_sequence - first_sequence + 1)
        / NULLIF(EXTRACT(EPOCH FROM clock_timestamp() - min(started_at)), 0))::float8
FROM (SELECT first_sequence, last_sequence, started_at FROM qr_batch_stages
      WHERE batch_id = :batch_id AND stage = 'hashing'
        AND status = 'completed' AND finished_at > now() - interval '2 minutes') AS recent
"""

CLOSE = """
UPDATE qr_batches
SET closed_at = clock_timestamp(), close_reason = :reason, updated_at = now()
WHERE id = :batch_id
"""

IS_PRINTING_KEYS = """
SELECT EXISTS (
    SELECT FROM label_jobs
    WHERE batch_id = :batch_id AND with_root_key AND status IN ('queued', 'running'))
"""
DELETE_FILES_WITH_KEYS = """
WITH emptied AS (
    UPDATE label_jobs
    SET part_count = 0, file_bytes = 0
    WHERE batch_id = :batch_id AND with_root_key
    RETURNING id
)
DELETE FROM label_files
WHERE job_id IN (SELECT id FROM emptied)
"""
STAMP_KEYS_FORGOTTEN = """
UPDATE qr_batches
SET keys_forgotten_at = COALESCE(keys_forgotten_at, clock_timestamp())
WHERE id = :batch_id
"""
WIPE_SEALED_KEYS = """
UPDATE qr_codes
SET root_key_sealed = NULL
WHERE batch_id = :batch_id AND root_key_sealed IS NOT NULL
"""


class CountedItems(NamedTuple):
    items_created: int
    quantity: int
    complete: bool


class CountedHashes(NamedTuple):
    keys_hashed: int
    keys_to_hash: int


class VariantQuantity(NamedTuple):
    variant: str
    quantity: int


class BatchCounts(NamedTuple):
    """What the batch contains: codes by status, distinct root keys and uniq codes, cases."""

    total_items: int
    unique_root_keys: int
    generated: int
    printed: int
    packed: int
    scanned: int
    redeemed: int
    void: int
    cases_total: int
    cases_packed: int
    unique_uniq_codes: int

    @property
    def by_status(self) -> Mapping[CodeStatus, int]:
        return {
            CodeStatus.GENERATED: self.generated,
            CodeStatus.PRINTED: self.printed,
            CodeStatus.PACKED: self.packed,
            CodeStatus.SCANNED: self.scanned,
            CodeStatus.REDEEMED: self.redeemed,
            CodeStatus.VOID: self.void,
        }


def check_packable(status: str, codes_created_at: datetime | None, closed_at: datetime | None) -> None:
    """Raises BatchNotReady, BatchClosed."""
    if codes_created_at is None:
        raise BatchNotReady(status)
    if closed_at is not None:
        raise BatchClosed(closed_at)


class BatchRepository(Repository):
    async def get(self, batch_id: UUID) -> Batch:
        """Raises NotFound."""
        batch = await self._session.scalar(select(Batch).where(Batch.id == batch_id))
        if batch is None:
            raise no_such_batch(batch_id)
        return batch

    async def get_created(self, batch_id: UUID) -> Batch:
        """Returns a batch whose codes exist. Raises NotFound, BatchNotReady."""
        batch = await self.get(batch_id)
        if batch.codes_created_at is None:
            raise BatchNotReady(batch.status)
        return batch

    async def get_packable(self, batch_id: UUID, order_id: UUID | None = None) -> Batch:
        """Returns a batch whose codes exist and may be packed. Raises NotFound, OrderMismatch, BatchNotReady,
        BatchClosed.
        """
        batch = await self.get(batch_id)
        if order_id is not None and batch.order_id != order_id:
            raise OrderMismatch
        check_packable(batch.status, batch.codes_created_at, batch.closed_at)
        return batch

    async def add(self, batch: Batch, variants: Sequence[Variant]) -> None:
        """Adds the batch. `variants` are in the order of their sequence numbers."""
        self._session.add(batch)
        first = 1
        for part in variants:
            last = first + part.quantity - 1
            self._session.add(
                BatchVariant(
                    batch_id=batch.id,
                    manufacturer_org_id=batch.manufacturer_org_id,
                    variant=part.variant,
                    first_sequence=first,
                    last_sequence=last,
                    queue_head=first,
                )
            )
            first = last + 1
        await self._session.flush()

    async def add_cases(self, batch_id: UUID) -> None:
        await self._execute(ADD_CASES, batch_id=batch_id)

    async def count_created(self, batch_id: UUID, created: int) -> CountedItems | None:
        """Adds to the batch's progress. Returns None if the batch has failed meanwhile."""
        return await self._fetch_optional(CountedItems, COUNT_CREATED, batch_id=batch_id, created=created)

    async def count_hashed(self, batch_id: UUID, hashed: int) -> CountedHashes:
        """Adds to the batch's progress. The chunk that completes it makes the batch ready."""
        return await self._fetch_one(CountedHashes, COUNT_HASHED, batch_id=batch_id, hashed=hashed)

    async def lock(self, batch_id: UUID) -> None:
        """Locks the batch: until this transaction ends, no other one changes the batch's progress.

        Other transactions may still insert codes. A stronger lock would deadlock with those that insert codes first and
        count them afterwards.
        """
        await self._execute(LOCK, batch_id=batch_id)

    async def fail(self, batch_id: UUID, reason: str) -> bool:
        """Marks the batch failed. Returns True if it failed in `creating`: then its codes were deleted. Needs
        `lock`.
        """
        was_creating = await self._fetch_value(bool, HAS_NO_CODES_YET, batch_id=batch_id)
        if was_creating:
            await self._execute(DELETE_CODES, batch_id=batch_id)
        await self._execute(FAIL, batch_id=batch_id, reason=reason)
        return was_creating

    async def resume(self, batch_id: UUID) -> bool:
        """Returns a failed batch to the stage in which it failed. Returns False if the batch has not failed."""
        return bool(await self._execute(RESUME, batch_id=batch_id))

    async def variants(self, batch_id: UUID) -> Sequence[VariantQuantity]:
        return await self._fetch_all(VariantQuantity, VARIANTS, batch_id=batch_id)

    async def counts(self, batch_id: UUID) -> BatchCounts:
        return await self._fetch_one(BatchCounts, COUNTS, batch_id=batch_id)

    async def hashing_rate(self, batch_id: UUID) -> float | None:
        """Returns the keys per second over the last two minutes, or None if no chunk was hashed."""
        return await self._find_value(float, HASHING_RATE, batch_id=batch_id)

    async def close(self, batch_id: UUID, reason: str) -> None:
        await self._execute(CLOSE, batch_id=batch_id, reason=reason)

    async def is_printing_keys(self, batch_id: UUID) -> bool:
        """Returns whether a label job that prints root keys is queued or running. Needs the batch lock."""
        return await self._fetch_value(bool, IS_PRINTING_KEYS, batch_id=batch_id)

    async def forget_keys(self, batch_id: UUID) -> int:
        """Deletes the sealed keys, and the label files that show them. The hashes stay. Returns the number of keys."""
        await self._execute(DELETE_FILES_WITH_KEYS, batch_id=batch_id)
        await self._execute(STAMP_KEYS_FORGOTTEN, batch_id=batch_id)
        return await self._execute(WIPE_SEALED_KEYS, batch_id=batch_id)
