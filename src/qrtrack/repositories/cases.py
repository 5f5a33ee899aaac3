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

    async def of_batch(self, batch_id: UUID, *, status: str | None, after: int, limit: int) -> Sequence[Row[Any]]:
        return await self._rows(
            f"SELECT {COLUMNS} FROM qr_master_codes AS box WHERE box.batch_id = :batch_id AND box.case_number > :after"
            " AND (CAST(:status AS text) IS NULL OR box.status = :status) ORDER BY box.case_number LIMIT :limit",
            batch_id=batch_id,
            status=status,
            after=after,
            limit=limit,
        )
