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
