"""Copies the rows for the exports of a batch and of a reverse job."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from qrtrack.domain.exports import Column, Kind
from qrtrack.domain.packing.exports import CASES, CODES, PREPARED
from qrtrack.repositories.copying import CopyRepository, CopyTarget

COPY_CODES: Final = """
SELECT code.code, code.sequence_number, code.variant, code.status, box.case_number, box.master_code,
       encode(code.root_key_sealed, 'hex') AS sealed
FROM qr_codes AS code
LEFT JOIN qr_master_codes AS box ON box.id = code.master_code_id
WHERE code.batch_id = :batch_id
"""
SEALED: Final = Column("sealed", Kind.CODE)
COPY_CASES: Final = """
SELECT case_number, master_code, status, actual_units AS units, first_code, last_code, completeness, packed_at, station
FROM qr_master_codes
WHERE batch_id = :batch_id
"""
COPY_PREPARED: Final = """
SELECT id, sequence_number, code, status, consumed_at
FROM qr_prepared_codes
WHERE job_id = :job_id
"""


class ExportRepository(CopyRepository):
    async def copy_codes(self, batch_id: UUID, target: CopyTarget, *, with_keys: bool) -> None:
        """Copies the codes of the batch in serial order. `with_keys` adds a last column with the sealed root keys in
        hex.
        """
        columns: Sequence[Column] = (*CODES, SEALED) if with_keys else CODES
        await self._copy(target, columns, COPY_CODES, order_by="sequence_number", batch_id=batch_id)

    async def copy_cases(self, batch_id: UUID, target: CopyTarget) -> None:
        """Copies the cases of the batch in the order of their numbers."""
        await self._copy(target, CASES, COPY_CASES, order_by="case_number", batch_id=batch_id)

    async def copy_prepared(self, job_id: UUID, target: CopyTarget) -> None:
        """Copies the codes that the job prepared, in the order in which they were queued."""
        await self._copy(target, PREPARED, COPY_PREPARED, order_by="id", job_id=job_id)
