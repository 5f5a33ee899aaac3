"""Master cases."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from qrtrack.domain.errors import NotFound
from qrtrack.repositories.base import Repository

COLUMNS = """
    box.id, box.batch_id, box.master_code, box.case_number, box.variant, box.expected_units, box.actual_units,
    box.completeness, box.status, box.first_code, box.last_code, box.packed_at, box.packed_by, box.station
"""

FIND = f"""
SELECT {COLUMNS}
FROM qr_master_codes AS box
WHERE box.master_code = :master_code
"""

LIST = f"""
SELECT {COLUMNS}
FROM qr_master_codes AS box
WHERE box.batch_id = :batch_id AND box.case_number > :after
  AND (CAST(:status AS text) IS NULL OR box.status = :status)
  AND (CAST(:variant AS text) IS NULL OR box.variant = :variant)
ORDER BY box.case_number
LIMIT :limit
"""

# How many codes a statement changed (rows of its CTE `changed`), and their sequence numbers as closed ranges.
CHANGED_RANGES = """, runs AS (
    SELECT min(sequence_number) AS low, max(sequence_number) AS high
    FROM (SELECT sequence_number, sequence_number - row_number() OVER (ORDER BY sequence_number) AS run
          FROM changed) AS numbered
    GROUP BY run
)
SELECT COALESCE(sum(high - low + 1), 0)::int AS codes,
       COALESCE(array_agg(low ORDER BY low), '{}') AS lows,
       COALESCE(array_agg(high ORDER BY low), '{}') AS highs
FROM runs
"""

# Codes move only if the target is open and large enough when the statement runs.
MOVE = f"""
WITH held AS MATERIALIZED (
    SELECT * FROM qr_master_codes WHERE id = :source_id
), filled AS (
    UPDATE qr_master_codes AS box
    SET status = held.status, actual_units = held.actual_units, completeness = held.completeness,
        first_sequence = held.first_sequence, last_sequence = held.last_sequence,
        first_code = held.first_code, last_code = held.last_code,
        packed_at = held.packed_at, packed_by = held.packed_by, station = held.station
    FROM held
    WHERE box.id = :target_id AND box.status = 'open' AND box.expected_units >= held.actual_units
    RETURNING 1
), emptied AS (
    UPDATE qr_master_codes
    SET status = 'open', actual_units = 0, completeness = NULL, first_sequence = NULL, last_sequence = NULL,
        first_code = NULL, last_code = NULL, packed_at = NULL, packed_by = NULL, station = NULL
    WHERE id = :source_id AND EXISTS (SELECT FROM filled)
), changed AS (
    UPDATE qr_codes AS code
    SET master_code_id = :target_id
    FROM held
    WHERE code.batch_id = held.batch_id AND code.master_code_id = held.id
      AND code.sequence_number BETWEEN held.first_sequence AND held.last_sequence
      AND EXISTS (SELECT FROM filled)
    RETURNING code.sequence_number
){CHANGED_RANGES}
"""

SET_SPAN = """
    first_sequence = inside.low, last_sequence = inside.high,
    first_code = inside.first_code, last_code = inside.last_code
"""


def count_inside(low: str = "held.first_sequence", high: str = "held.last_sequence") -> str:
    """Returns SQL for `FROM`: the cases `held`, each with the codes `inside` it between two sequence numbers.

    No index leads from a case to its codes: maintaining one would make packing each code several times slower.
    """
    return f"""
    qr_master_codes AS held
    CROSS JOIN LATERAL (
        SELECT count(*) AS units, min(code.sequence_number) AS low, max(code.sequence_number) AS high,
               (array_agg(code.code ORDER BY code.sequence_number))[1] AS first_code,
               (array_agg(code.code ORDER BY code.sequence_number DESC))[1] AS last_code
        FROM qr_codes AS code
        WHERE code.batch_id = held.batch_id AND code.sequence_number BETWEEN {low} AND {high}
          AND code.master_code_id = held.id) AS inside
"""


class FoundCase(NamedTuple):
    id: int
    batch_id: UUID
    master_code: str
    case_number: int
    variant: str | None
    expected_units: int
    actual_units: int
    completeness: str | None
    status: str
    first_code: str | None
    last_code: str | None
    packed_at: datetime | None
    packed_by: str | None
    station: str | None

    def members(self) -> dict[str, Any]:
        """Returns the members that a refusal shows of a packed case."""
        hidden = {"id", "batch_id", "variant", "status"}
        return {name: value for name, value in self._asdict().items() if name not in hidden}


class ChangedRanges(NamedTuple):
    """How many codes a statement changed, and their sequence numbers as closed ranges."""

    codes: int
    lows: list[int]
    highs: list[int]

    @property
    def ranges(self) -> list[tuple[int, int]]:
        return list(zip(self.lows, self.highs, strict=True))


def no_such_case(master_code: str) -> NotFound:
    return NotFound(f"There is no master case {master_code} in your organisation. Scan the QR of the case itself.")


class CaseRepository(Repository):
    async def find(self, master_code: str) -> FoundCase | None:
        return await self._fetch_optional(FoundCase, FIND, master_code=master_code)

    async def get(self, master_code: str) -> FoundCase:
        """Raises NotFound."""
        case = await self.find(master_code)
        if case is None:
            raise no_such_case(master_code)
        return case

    async def list_of_batch(
        self, batch_id: UUID, *, status: str | None = None, variant: str | None = None, after: int, limit: int
    ) -> Sequence[FoundCase]:
        """Returns cases in the order of their numbers, after the case number `after`."""
        return await self._fetch_all(
            FoundCase, LIST, batch_id=batch_id, status=status, variant=variant, after=after, limit=limit
        )

    async def move(self, source_id: int, target_id: int) -> ChangedRanges:
        """Moves all codes of the source case to an open one, with its completeness, time, operator and station.

        Needs the batch lock. Changes no code if the target is not open, or is too small.
        """
        return await self._fetch_one(ChangedRanges, MOVE, source_id=source_id, target_id=target_id)
