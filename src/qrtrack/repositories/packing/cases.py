"""Master cases."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from qrtrack.domain.errors import NotFound
from qrtrack.repositories.base import Repository

COLUMNS = (
    "box.id, box.batch_id, box.master_code, box.case_number, box.variant, box.expected_units, box.actual_units,"
    " box.completeness, box.status, box.first_code, box.last_code, box.packed_at, box.packed_by, box.station"
)

# How many codes a statement changed, and their sequence numbers as closed ranges: no code travels for it.
CHANGED_RANGES = (
    ", runs AS (SELECT min(sequence_number) AS low, max(sequence_number) AS high FROM (SELECT sequence_number,"
    "  sequence_number - row_number() OVER (ORDER BY sequence_number) AS run FROM changed) AS numbered GROUP BY run)"
    " SELECT COALESCE(sum(high - low + 1), 0)::int AS codes, COALESCE(array_agg(low ORDER BY low), '{}') AS lows,"
    " COALESCE(array_agg(high ORDER BY low), '{}') AS highs FROM runs"
)

# Codes move only when the other case was open and large enough at this moment.
MOVE = f"""
WITH held AS MATERIALIZED (
    SELECT * FROM qr_master_codes WHERE id = :source
), filled AS (
    UPDATE qr_master_codes AS box SET status = held.status, actual_units = held.actual_units,
        completeness = held.completeness, first_sequence = held.first_sequence, last_sequence = held.last_sequence,
        first_code = held.first_code, last_code = held.last_code, packed_at = held.packed_at,
        packed_by = held.packed_by, station = held.station
    FROM held WHERE box.id = :target AND box.status = 'open' AND box.expected_units >= held.actual_units RETURNING 1
), emptied AS (
    UPDATE qr_master_codes SET status = 'open', actual_units = 0, completeness = NULL, first_sequence = NULL,
        last_sequence = NULL, first_code = NULL, last_code = NULL, packed_at = NULL, packed_by = NULL, station = NULL
    WHERE id = :source AND EXISTS (SELECT FROM filled)
), changed AS (
    UPDATE qr_codes AS code SET master_code_id = :target
    FROM held WHERE code.batch_id = held.batch_id AND code.master_code_id = held.id
      AND code.sequence_number BETWEEN held.first_sequence AND held.last_sequence AND EXISTS (SELECT FROM filled)
    RETURNING code.sequence_number
){CHANGED_RANGES}
"""

SET_SPAN = (
    "first_sequence = inside.low, last_sequence = inside.high, first_code = inside.first_code,"
    " last_code = inside.last_code"
)


def count_inside(low: str = "held.first_sequence", high: str = "held.last_sequence") -> str:
    """SQL for `FROM`: cases `held`, and what is `inside` each by its span: how many codes, from where to where.

    No index leads from a case to its codes: keeping one would make each code's packing many times dearer.
    """
    return (
        "qr_master_codes AS held CROSS JOIN LATERAL (SELECT count(*) AS units, min(code.sequence_number) AS low,"
        " max(code.sequence_number) AS high, (array_agg(code.code ORDER BY code.sequence_number))[1] AS first_code,"
        " (array_agg(code.code ORDER BY code.sequence_number DESC))[1] AS last_code FROM qr_codes AS code"
        f" WHERE code.batch_id = held.batch_id AND code.sequence_number BETWEEN {low} AND {high}"
        " AND code.master_code_id = held.id) AS inside"
    )


class CaseRepository(Repository):
    async def find(self, master_code: str) -> Row[Any] | None:
        return await self._row_or_none(
            f"SELECT {COLUMNS} FROM qr_master_codes AS box WHERE box.master_code = :master_code",
            master_code=master_code,
        )

    async def get(self, master_code: str) -> Row[Any]:
        """Raises NotFound."""
        box = await self.find(master_code)
        if box is None:
            raise NotFound(f"There is no master case {master_code} in your organisation. Scan the case's own QR.")
        return box

    async def of_batch(
        self, batch_id: UUID, *, status: str | None, variant: str | None, after: int, limit: int
    ) -> Sequence[Row[Any]]:
        return await self._rows(
            f"SELECT {COLUMNS} FROM qr_master_codes AS box WHERE box.batch_id = :batch_id AND box.case_number > :after"
            " AND (CAST(:status AS text) IS NULL OR box.status = :status)"
            " AND (CAST(:variant AS text) IS NULL OR box.variant = :variant) ORDER BY box.case_number LIMIT :limit",
            batch_id=batch_id,
            status=status,
            variant=variant,
            after=after,
            limit=limit,
        )

    async def move(self, source_id: int, target_id: int) -> Row[Any]:
        """Moves all that is in one case to an open one: how many codes, and their numbers as ranges.

        The target takes over completeness, time, operator and station; the source is open then. Needs the batch lock.
        """
        return await self._row(MOVE, source=source_id, target=target_id)
