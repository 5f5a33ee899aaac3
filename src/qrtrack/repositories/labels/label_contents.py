"""The content of labels: batches, units and cases as labels show them, and which units are printed."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import NamedTuple
from uuid import UUID

from qrtrack.domain.batches import no_such_batch
from qrtrack.domain.errors import NotFound
from qrtrack.repositories.base import Repository

GET_BATCH = """
SELECT id, uniq_code, product_name, gtin, lot, expires_on, quantity, status, codes_created_at
FROM qr_batches
WHERE id = :batch_id
"""
FIND_SEQUENCE = """
SELECT sequence_number
FROM qr_codes
WHERE code = :code AND batch_id = :batch_id
"""
# LATERAL looks each number up in the index. With `= ANY` PostgreSQL reads the whole batch while statistics are missing.
LIST_CODES = """
SELECT found.sequence_number, found.code
FROM unnest(CAST(:numbers AS int[])) AS wanted(number)
CROSS JOIN LATERAL (
    SELECT sequence_number, code
    FROM qr_codes
    WHERE batch_id = :batch_id AND sequence_number = wanted.number
    LIMIT 1) AS found
"""
IN_RANGE = "batch_id = :batch_id AND sequence_number BETWEEN :first AND :last"
SUMMARISE_UNITS = f"""
SELECT count(*) FILTER (WHERE status <> 'void')::int AS labels,
       count(*) FILTER (WHERE status <> 'void' AND root_key_sealed IS NULL)::int AS without_key,
       COALESCE(max(octet_length(root_key_sealed)), 0) AS longest_seal,
       COALESCE((SELECT code FROM qr_codes WHERE {IN_RANGE} ORDER BY length(code) DESC LIMIT 1), '') AS longest_code,
       (SELECT variant FROM qr_batch_variants
        WHERE batch_id = :batch_id AND first_sequence <= :last AND last_sequence >= :first
        ORDER BY length(variant) DESC NULLS LAST LIMIT 1) AS longest_variant
FROM qr_codes
WHERE {IN_RANGE}
"""
LIST_PRINTED = f"""
SELECT (array_agg(code ORDER BY sequence_number))[1] AS first_code,
       (array_agg(code ORDER BY sequence_number DESC))[1] AS last_code,
       count(*)::int AS units,
       (sum(count(*)) OVER ())::int AS printed_count
FROM (SELECT code, sequence_number, sequence_number - row_number() OVER (ORDER BY sequence_number) AS run
      FROM qr_codes
      WHERE {IN_RANGE} AND printed_at IS NOT NULL AND status <> 'void') AS printed
GROUP BY run
ORDER BY min(sequence_number)
LIMIT :limit
"""
LIST_UNITS = """
SELECT sequence_number, code, variant, CASE WHEN CAST(:with_keys AS boolean) THEN root_key_sealed END AS sealed
FROM qr_codes
WHERE batch_id = :batch_id AND sequence_number > :after AND sequence_number <= :last AND status <> 'void'
ORDER BY sequence_number
LIMIT :limit
"""
LIST_CASES = """
SELECT case_number, master_code, variant, first_code, last_code, actual_units AS units, completeness
FROM qr_master_codes
WHERE batch_id = :batch_id AND case_number > :after AND case_number <= :last
ORDER BY case_number
LIMIT :limit
"""
LAST_CASE = """
SELECT max(case_number)
FROM qr_master_codes
WHERE batch_id = :batch_id
"""
# A packed unit keeps its status. `printed_at` is the time of the first print; a reprint does not change it.
MARK_PRINTED = f"""
WITH labelled AS (
    SELECT sequence_number, sequence_number - row_number() OVER (ORDER BY sequence_number) AS run
    FROM qr_codes
    WHERE {IN_RANGE} AND status <> 'void'
), marked AS (
    UPDATE qr_codes
    SET printed_at = clock_timestamp(), status = CASE status WHEN 'generated' THEN 'printed' ELSE status END
    WHERE {IN_RANGE} AND status <> 'void' AND printed_at IS NULL
    RETURNING 1
), runs AS (
    SELECT min(sequence_number) AS low, max(sequence_number) AS high
    FROM labelled
    GROUP BY run
)
SELECT (SELECT count(*) FROM marked)::int AS first_prints,
       COALESCE(array_agg(low ORDER BY low), '{{}}') AS lows,
       COALESCE(array_agg(high ORDER BY low), '{{}}') AS highs
FROM runs
"""


class LabelledBatch(NamedTuple):
    id: UUID
    uniq_code: str
    product_name: str
    gtin: str | None
    lot: str | None
    expires_on: date | None
    quantity: int
    status: str
    codes_created_at: datetime | None


class NumberedCode(NamedTuple):
    sequence_number: int
    code: str


class UnitSummary(NamedTuple):
    """What the labels of a range of units need. `labels` counts the units that are not void, `without_key` those of
    them without a sealed key. `longest_seal` is the length of the longest sealed key in bytes.
    """

    labels: int
    without_key: int
    longest_seal: int
    longest_code: str
    longest_variant: str | None


class PrintedRun(NamedTuple):
    """Printed units with consecutive sequence numbers. `printed_count` is the sum over all runs."""

    first_code: str
    last_code: str
    units: int
    printed_count: int


class LabelledUnit(NamedTuple):
    sequence_number: int
    code: str
    variant: str | None
    sealed: bytes | None


class LabelledCase(NamedTuple):
    case_number: int
    master_code: str
    variant: str | None
    first_code: str | None
    last_code: str | None
    units: int
    completeness: str | None


class MarkedUnits(NamedTuple):
    """`lows` and `highs` are the ends of the ranges of units that are not void. `first_prints` counts the units that
    were marked as printed for the first time.
    """

    first_prints: int
    lows: list[int]
    highs: list[int]


class LabelContentRepository(Repository):
    async def get_batch(self, batch_id: UUID) -> LabelledBatch:
        """Raises NotFound."""
        return await self._fetch_existing(LabelledBatch, GET_BATCH, no_such_batch(batch_id), batch_id=batch_id)

    async def find_codes(self, batch_id: UUID, numbers: Iterable[int]) -> Mapping[int, str]:
        """Returns the codes of the batch by their sequence numbers."""
        return dict(await self._fetch_all(NumberedCode, LIST_CODES, batch_id=batch_id, numbers=list(numbers)))

    async def find_sequence(self, batch_id: UUID, code: str) -> int | None:
        return await self._find_value(int, FIND_SEQUENCE, batch_id=batch_id, code=code)

    async def last_case(self, batch_id: UUID) -> int:
        return await self._find_value(int, LAST_CASE, batch_id=batch_id) or 0

    async def summarise_units(self, batch_id: UUID, first: int, last: int) -> UnitSummary:
        return await self._fetch_one(UnitSummary, SUMMARISE_UNITS, batch_id=batch_id, first=first, last=last)

    async def list_printed(self, batch_id: UUID, first: int, last: int, *, limit: int) -> list[PrintedRun]:
        return await self._fetch_all(PrintedRun, LIST_PRINTED, batch_id=batch_id, first=first, last=last, limit=limit)

    async def list_units(
        self, batch_id: UUID, *, after: int, last: int, limit: int, with_keys: bool
    ) -> Sequence[LabelledUnit]:
        """Returns units that are not void, in serial order, after the sequence number `after`."""
        return await self._fetch_all(
            LabelledUnit, LIST_UNITS, batch_id=batch_id, after=after, last=last, limit=limit, with_keys=with_keys
        )

    async def list_cases(self, batch_id: UUID, *, after: int, last: int, limit: int) -> Sequence[LabelledCase]:
        return await self._fetch_all(LabelledCase, LIST_CASES, batch_id=batch_id, after=after, last=last, limit=limit)

    async def get_case(self, batch_id: UUID, case_number: int) -> LabelledCase:
        """Raises NotFound."""
        found = await self.list_cases(batch_id, after=case_number - 1, last=case_number, limit=1)
        if not found:
            raise NotFound(f"The batch has no case number {case_number}.")
        return found[0]

    async def mark_printed(self, batch_id: UUID, first: int, last: int) -> MarkedUnits:
        """Needs the batch lock: packing writes the same codes in another order, and the two could deadlock."""
        return await self._fetch_one(MarkedUnits, MARK_PRINTED, batch_id=batch_id, first=first, last=last)
