"""Finds units for public verification by uniq code, GS1 Digital Link and root key. The caller is not signed in."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Final, NamedTuple
from uuid import UUID

from qrtrack.repositories.base import DriverRepository

FIND_BATCH: Final = """
SELECT id, manufacturer_org_id
FROM qr_batches
WHERE uniq_code = :uniq_code
"""
# A mistyped key has several readings. `digests` has one digest for each, the likeliest first. A digest is unique within
# a batch.
FIND_BY_KEY: Final = """
SELECT sequence_number, code, root_key_digest, root_key_hash
FROM qr_codes
WHERE batch_id = :batch_id
  AND root_key_digest = ANY(CAST(:digests AS bytea[]))
  AND (CAST(:code AS text) IS NULL OR code = :code)
ORDER BY array_position(CAST(:digests AS bytea[]), root_key_digest)
LIMIT 1
"""
# Codes are unique within an organisation, so the index on them begins with the organisation. An unknown code leads to
# the newest batch of the GTIN, as a known one does to its batch. A different answer would let anybody find out which
# codes exist, without a key and without a limit.
FIND_BY_LINK: Final = """
SELECT COALESCE(
    (SELECT batch.uniq_code
     FROM qr_codes AS unit
     JOIN qr_batches AS batch ON batch.id = unit.batch_id
     WHERE unit.manufacturer_org_id IN (SELECT manufacturer_org_id FROM qr_batches WHERE gtin = :gtin)
       AND unit.code = :code
       AND batch.gtin = :gtin
       AND (CAST(:lot AS text) IS NULL OR batch.lot = :lot)
     ORDER BY batch.id
     LIMIT 1),
    (SELECT uniq_code
     FROM qr_batches
     WHERE gtin = :gtin AND (CAST(:lot AS text) IS NULL OR lot = :lot)
     ORDER BY id DESC
     LIMIT 1))
"""
# A recall of the batch, of the case that the unit is in, or of the unit itself. The newest one is shown.
RECALL: Final = """
SELECT found.text_en, found.text_id
FROM (
    SELECT recall.text_en, recall.text_id, recall.recalled_at
    FROM recalls AS recall
    WHERE recall.batch_id = batch.id
      AND recall.lifted_at IS NULL
      AND (recall.scope = 'batch' OR recall.master_code_id = unit.master_code_id)
    UNION ALL
    SELECT recall.text_en, recall.text_id, recall.recalled_at
    FROM recalled_codes AS recalled
    JOIN recalls AS recall ON recall.id = recalled.recall_id
    WHERE recalled.batch_id = unit.batch_id
      AND recalled.sequence_number = unit.sequence_number
      AND recall.lifted_at IS NULL
) AS found
ORDER BY found.recalled_at DESC
LIMIT 1
"""
DESCRIBE: Final = f"""
SELECT batch.manufacturer_org_id, batch.product_name, recall.text_en, recall.text_id
FROM qr_batches AS batch
LEFT JOIN qr_codes AS unit ON unit.manufacturer_org_id = batch.manufacturer_org_id
                          AND unit.code = CAST(:code AS text) AND unit.batch_id = batch.id
LEFT JOIN LATERAL ({RECALL}) AS recall ON true
WHERE batch.uniq_code = :uniq_code
"""
LOCK: Final = f"""
SELECT unit.batch_id, unit.sequence_number, unit.code, unit.status, unit.scanned_at, unit.redeemed_at,
       unit.printed_at, unit.voided_at, box.master_code, box.case_number,
       batch.manufacturer_org_id, batch.uniq_code, batch.product_name, batch.lot, batch.expires_on,
       NOT batch.requires_release OR COALESCE(batch.released_at <= now(), false) AS is_released,
       recall.text_en, recall.text_id
FROM qr_codes AS unit
JOIN qr_batches AS batch ON batch.id = unit.batch_id
LEFT JOIN qr_master_codes AS box ON box.id = unit.master_code_id
LEFT JOIN LATERAL ({RECALL}) AS recall ON true
WHERE unit.batch_id = :batch_id AND unit.sequence_number = :sequence_number
FOR NO KEY UPDATE OF unit
"""
# There is no transition from `redeemed` to `scanned`: a redeemed unit keeps its state.
MARK_SCANNED: Final = """
UPDATE qr_codes
SET status = 'scanned', scanned_at = now()
WHERE batch_id = :batch_id
  AND sequence_number = :sequence_number
  AND status IN ('generated', 'printed', 'packed')
"""
MARK_REDEEMED: Final = """
UPDATE qr_codes
SET status = 'redeemed', redeemed_at = now(), scanned_at = COALESCE(scanned_at, now())
WHERE batch_id = :batch_id AND sequence_number = :sequence_number
"""


class FoundBatch(NamedTuple):
    id: UUID
    manufacturer_org_id: UUID


class KeyedUnit(NamedTuple):
    """The unit that has the digest. `root_key_hash` is None until its key is hashed."""

    sequence_number: int
    code: str
    root_key_digest: bytes
    root_key_hash: str | None


class DescribedBatch(NamedTuple):
    """What the page may show before a key is entered. `text_en` and `text_id` are the texts of a recall."""

    manufacturer_org_id: UUID
    product_name: str
    text_en: str | None
    text_id: str | None


class LockedUnit(NamedTuple):
    """A unit, its batch, its case and its recall, while the unit's row is locked."""

    batch_id: UUID
    sequence_number: int
    code: str
    status: str
    scanned_at: datetime | None
    redeemed_at: datetime | None
    printed_at: datetime | None
    voided_at: datetime | None
    master_code: str | None
    case_number: int | None
    manufacturer_org_id: UUID
    uniq_code: str
    product_name: str
    lot: str | None
    expires_on: date | None
    is_released: bool
    text_en: str | None
    text_id: str | None


class VerifiedUnitRepository(DriverRepository):
    """The methods `find_batch`, `find_by_key`, `find_by_link` and `describe` run without an organisation, because a
    consumer has none: they see the rows of all organisations.
    """

    async def find_batch(self, uniq_code: str) -> FoundBatch | None:
        return await self._fetch_optional(FoundBatch, FIND_BATCH, uniq_code=uniq_code)

    async def find_by_key(self, batch_id: UUID, digests: Sequence[bytes], code: str | None) -> KeyedUnit | None:
        """Returns the unit that has one of these digests. If several units have one, the unit of the first digest in
        the list.
        """
        return await self._fetch_optional(KeyedUnit, FIND_BY_KEY, batch_id=batch_id, digests=digests, code=code)

    async def find_by_link(self, gtin: str, lot: str | None, code: str) -> str | None:
        """Returns the uniq code of the batch that a GS1 Digital Link leads to, or None if no batch has this GTIN and
        lot.
        """
        return await self._find_value(str, FIND_BY_LINK, gtin=gtin, lot=lot, code=code)

    async def describe(self, uniq_code: str, code: str | None) -> DescribedBatch | None:
        return await self._fetch_optional(DescribedBatch, DESCRIBE, uniq_code=uniq_code, code=code)

    async def lock(self, batch_id: UUID, sequence_number: int) -> LockedUnit:
        """Locks the row of the unit: from here on, concurrent checks of one unit run one after the other."""
        return await self._fetch_one(LockedUnit, LOCK, batch_id=batch_id, sequence_number=sequence_number)

    async def mark_scanned(self, batch_id: UUID, sequence_number: int) -> bool:
        """Returns False if the unit's state does not change."""
        return await self._execute(MARK_SCANNED, batch_id=batch_id, sequence_number=sequence_number) > 0

    async def mark_redeemed(self, batch_id: UUID, sequence_number: int) -> None:
        await self._execute(MARK_REDEEMED, batch_id=batch_id, sequence_number=sequence_number)
