"""Recalls: one row each, and the units of recalled cases and lists."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from qrtrack.domain.errors import NotFound
from qrtrack.repositories.base import KEEP_PLANS, Repository

INSERT = """
INSERT INTO recalls (id, manufacturer_org_id, scope, batch_id, master_code_id, reason, text_en, text_id, unit_count,
                     recalled_by)
"""
UNITS_OF_CASE = """
FROM qr_master_codes AS box
JOIN qr_codes AS code
  ON code.batch_id = box.batch_id
 AND code.sequence_number BETWEEN box.first_sequence AND box.last_sequence
 AND code.master_code_id = box.id
WHERE box.id = :case_id
"""
# ON CONFLICT DO NOTHING: the batch or case is already under recall for the same reason. PostgreSQL waits for a
# concurrent recall to commit before it decides.
ADD_OF_BATCH = f"""
{INSERT}
SELECT :recall_id, manufacturer_org_id, 'batch', id, NULL, :reason, :text_en, :text_id, quantity, :actor
FROM qr_batches
WHERE id = :batch_id
ON CONFLICT DO NOTHING
"""
# The units are stored, so that they stay recalled when they are taken out of the case. Units that are put into the case
# later are recalled as well.
ADD_OF_CASE = f"""
WITH units AS MATERIALIZED (
    SELECT code.batch_id, code.sequence_number {UNITS_OF_CASE}
), recall AS (
    {INSERT}
    SELECT :recall_id, manufacturer_org_id, 'case', batch_id, id, :reason, :text_en, :text_id,
           (SELECT count(*) FROM units), :actor
    FROM qr_master_codes
    WHERE id = :case_id AND EXISTS (SELECT FROM units)
    ON CONFLICT DO NOTHING
    RETURNING id, manufacturer_org_id
)
INSERT INTO recalled_codes (recall_id, batch_id, sequence_number, manufacturer_org_id)
SELECT recall.id, units.batch_id, units.sequence_number, recall.manufacturer_org_id
FROM recall, units
"""
ADD_OF_CODES = f"""
{INSERT}
VALUES (:recall_id, :organisation, 'codes', NULL, NULL, :reason, :text_en, :text_id, :unit_count, :actor)
"""
# Each code is looked up separately in its unique index: a new batch has no statistics, and PostgreSQL would plan a join
# badly.
UNITS = """
FROM unnest(CAST(:codes AS text[])) WITH ORDINALITY AS listed(code, place)
CROSS JOIN LATERAL (
    SELECT batch_id, sequence_number FROM qr_codes
    WHERE manufacturer_org_id = :organisation AND code = listed.code LIMIT 1) AS unit
"""
ADD_CODES = f"""
INSERT INTO recalled_codes (recall_id, batch_id, sequence_number, manufacturer_org_id)
SELECT :recall_id, unit.batch_id, unit.sequence_number, :organisation
{UNITS}
"""
LIST_UNKNOWN = """
SELECT listed.code
FROM unnest(CAST(:codes AS text[])) WITH ORDINALITY AS listed(code, place)
WHERE (SELECT true FROM qr_codes
       WHERE manufacturer_org_id = :organisation AND code = listed.code LIMIT 1) IS NULL
ORDER BY listed.place
"""
LIST_BATCHES_OF_CODES = f"""
SELECT listed.code, batch.uniq_code, batch.gtin, batch.lot, batch.serial_mode
{UNITS}
JOIN qr_batches AS batch ON batch.id = unit.batch_id
"""
COUNTS = """
count(*)::int AS unit_count, (count(*) FILTER (WHERE status IN ('scanned', 'redeemed')))::int AS with_consumers
"""
COUNT_OF_BATCH = f"""
SELECT {COUNTS}
FROM qr_codes
WHERE batch_id = :batch_id
"""
COUNT_OF_CASE = f"""
SELECT {COUNTS}
FROM (SELECT code.status {UNITS_OF_CASE}) AS units
"""
COUNT_OF_CODES = f"""
SELECT {COUNTS}
FROM (SELECT (SELECT status FROM qr_codes
              WHERE manufacturer_org_id = :organisation AND code = listed.code LIMIT 1) AS status
      FROM unnest(CAST(:codes AS text[])) AS listed(code)) AS units
"""
FIND_CASE = """
SELECT id, actual_units
FROM qr_master_codes
WHERE master_code = :master_code
"""
FIND_IN_FORCE = """
SELECT id
FROM recalls
WHERE reason = :reason AND lifted_at IS NULL AND scope <> 'codes'
  AND (master_code_id = CAST(:case_id AS bigint)
       OR master_code_id IS NULL AND batch_id = CAST(:batch_id AS uuid))
"""
IS_BATCH_RECALLED = """
SELECT EXISTS (SELECT FROM recalls WHERE batch_id = :batch_id AND scope = 'batch' AND lifted_at IS NULL)
"""
LIFT = """
UPDATE recalls
SET lifted_at = clock_timestamp(), lifted_by = :actor
WHERE id = :recall_id AND lifted_at IS NULL
"""
SELECT = """
SELECT recall.id AS recall_id, recall.scope, recall.batch_id, box.master_code, recall.unit_count, recall.reason,
       recall.text_en, recall.text_id, recall.recalled_at, recall.recalled_by, recall.lifted_at, recall.lifted_by
FROM recalls AS recall
LEFT JOIN qr_master_codes AS box ON box.id = recall.master_code_id
"""
GET = f"""
{SELECT}
WHERE recall.id = :recall_id
"""
LIST = f"""
{SELECT}
WHERE (CAST(:before AS uuid) IS NULL OR recall.id < :before)
  AND (CAST(:is_in_force AS boolean) IS NULL OR (recall.lifted_at IS NULL) = :is_in_force)
  AND (CAST(:batch_id AS uuid) IS NULL OR recall.batch_id = :batch_id
       OR EXISTS (SELECT FROM recalled_codes AS unit
                  WHERE unit.recall_id = recall.id AND unit.batch_id = :batch_id))
ORDER BY recall.id DESC
LIMIT :limit
"""
OF_RECALL = """
    SELECT code.batch_id, code.sequence_number, code.code, code.status
    FROM recalls AS recall
    JOIN qr_codes AS code ON code.batch_id = recall.batch_id
    WHERE recall.id = :recall_id AND recall.scope = 'batch'
    UNION ALL
    SELECT code.batch_id, code.sequence_number, code.code, code.status
    FROM recalled_codes AS unit
    JOIN qr_codes AS code ON code.batch_id = unit.batch_id AND code.sequence_number = unit.sequence_number
    WHERE unit.recall_id = :recall_id
"""
COUNT_BY_STATUS = f"""
SELECT status, count(*)::int AS units
FROM ({OF_RECALL}) AS units
GROUP BY status
"""
LIST_RANGES = f"""
SELECT batch_id, (array_agg(code ORDER BY sequence_number))[1] AS first_code,
       (array_agg(code ORDER BY sequence_number DESC))[1] AS last_code, count(*)::int AS units
FROM (SELECT batch_id, code, sequence_number,
             sequence_number - row_number() OVER (PARTITION BY batch_id ORDER BY sequence_number) AS run
      FROM ({OF_RECALL}) AS units) AS numbered
GROUP BY batch_id, run
ORDER BY batch_id, min(sequence_number)
LIMIT :limit
"""


class NewRecall(NamedTuple):
    """`reason` is for the organisation's own records; the texts are what consumers read."""

    recall_id: UUID
    reason: str
    text_en: str
    text_id: str
    actor: str


class RecallRow(NamedTuple):
    recall_id: UUID
    scope: str
    batch_id: UUID | None
    master_code: str | None
    unit_count: int
    reason: str
    text_en: str
    text_id: str
    recalled_at: datetime
    recalled_by: str
    lifted_at: datetime | None
    lifted_by: str | None


class CaseToRecall(NamedTuple):
    id: int
    actual_units: int


class BatchOfCode(NamedTuple):
    """A code, and the data of its batch that QR symbols contain."""

    code: str
    uniq_code: str
    gtin: str | None
    lot: str | None
    serial_mode: str


class RecallCount(NamedTuple):
    """How many units a recall would cover. `with_consumers` counts those that a consumer has checked or redeemed."""

    unit_count: int
    with_consumers: int


class StatusCount(NamedTuple):
    status: str
    units: int


class RecalledRange(NamedTuple):
    """Recalled units with consecutive sequence numbers."""

    batch_id: UUID
    first_code: str
    last_code: str
    units: int


class RecallRepository(Repository):
    async def add_of_batch(self, new: NewRecall, batch_id: UUID) -> bool:
        """Returns False if there is no such batch, or if it is under recall for the same reason."""
        return await self._execute(ADD_OF_BATCH, **new._asdict(), batch_id=batch_id) > 0

    async def add_of_case(self, new: NewRecall, case_id: int) -> bool:
        """Returns False if the case is empty, or under recall for the same reason."""
        return await self._execute(ADD_OF_CASE, **new._asdict(), case_id=case_id) > 0

    async def add_of_codes(self, new: NewRecall, codes: Sequence[str], *, organisation_id: UUID) -> Sequence[str]:
        """Stores the recall of the codes, which must contain no repeats. Returns the codes that the organisation does
        not have; if there are any, the caller must roll back.
        """
        await self._execute(ADD_OF_CODES, **new._asdict(), organisation=organisation_id, unit_count=len(codes))
        await self._execute(f"SELECT {KEEP_PLANS}")
        added = await self._execute(ADD_CODES, recall_id=new.recall_id, codes=codes, organisation=organisation_id)
        return () if added == len(codes) else await self.list_unknown(codes, organisation_id=organisation_id)

    async def list_unknown(self, codes: Sequence[str], *, organisation_id: UUID) -> Sequence[str]:
        """Returns the codes that the organisation does not have."""
        return await self._fetch_values(str, LIST_UNKNOWN, codes=codes, organisation=organisation_id)

    async def is_batch_recalled(self, batch_id: UUID) -> bool:
        """Returns whether a recall of the whole batch is in force."""
        return await self._fetch_value(bool, IS_BATCH_RECALLED, batch_id=batch_id)

    async def count_of_batch(self, batch_id: UUID) -> RecallCount:
        return await self._fetch_one(RecallCount, COUNT_OF_BATCH, batch_id=batch_id)

    async def count_of_case(self, case_id: int) -> RecallCount:
        return await self._fetch_one(RecallCount, COUNT_OF_CASE, case_id=case_id)

    async def count_of_codes(self, codes: Sequence[str], *, organisation_id: UUID) -> RecallCount:
        """Counts what a recall of the codes would cover. They must contain no repeats, and only codes of the
        organisation.
        """
        return await self._fetch_one(RecallCount, COUNT_OF_CODES, codes=codes, organisation=organisation_id)

    async def list_batches_of(self, codes: Sequence[str], *, organisation_id: UUID) -> list[BatchOfCode]:
        return await self._fetch_all(BatchOfCode, LIST_BATCHES_OF_CODES, codes=codes, organisation=organisation_id)

    async def get_case(self, master_code: str) -> CaseToRecall:
        """Raises NotFound."""
        missing = NotFound(f"There is no case {master_code} in your organisation.")
        return await self._fetch_existing(CaseToRecall, FIND_CASE, missing, master_code=master_code)

    async def find_in_force(
        self, reason: str, *, batch_id: UUID | None = None, case_id: int | None = None
    ) -> UUID | None:
        """Returns the recall in force that covers the batch or case for the same reason, or None."""
        return await self._find_value(UUID, FIND_IN_FORCE, reason=reason, batch_id=batch_id, case_id=case_id)

    async def lift(self, recall_id: UUID, *, actor: str) -> bool:
        """Returns False if the recall was lifted before."""
        return await self._execute(LIFT, recall_id=recall_id, actor=actor) > 0

    async def get(self, recall_id: UUID) -> RecallRow:
        """Raises NotFound."""
        missing = NotFound(f"There is no recall {recall_id} in your organisation.")
        return await self._fetch_existing(RecallRow, GET, missing, recall_id=recall_id)

    async def list(
        self, *, batch_id: UUID | None, is_in_force: bool | None, before: UUID | None, limit: int
    ) -> list[RecallRow]:
        """Lists recalls, newest first."""
        return await self._fetch_all(
            RecallRow, LIST, batch_id=batch_id, is_in_force=is_in_force, before=before, limit=limit
        )

    async def count_by_status(self, recall_id: UUID) -> Sequence[StatusCount]:
        return await self._fetch_all(StatusCount, COUNT_BY_STATUS, recall_id=recall_id)

    async def list_ranges(self, recall_id: UUID, *, limit: int) -> Sequence[RecalledRange]:
        return await self._fetch_all(RecalledRange, LIST_RANGES, recall_id=recall_id, limit=limit)
