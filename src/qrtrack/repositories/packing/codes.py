"""Codes: finding them, and moving them through their states by whole lists."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from qrtrack.repositories.base import Repository
from qrtrack.repositories.packing.cases import CHANGED_RANGES, SET_SPAN, count_inside

EXCLUDED = (
    "EXISTS (SELECT FROM qr_excluded_codes AS excluded WHERE excluded.batch_id = code.batch_id"
    " AND excluded.sequence_number = code.sequence_number)"
)

# The codes of a batch for `FROM`, from behind the sequence number `after`: all of a status, or those in a place of the
# reconciliation sheet. A place is read from its own index, since a few excluded codes may lie at the end of a million.
ANYWHERE = """
    (SELECT * FROM qr_codes WHERE batch_id = :batch_id AND sequence_number > :after
     AND (CAST(:status AS text) IS NULL OR status = :status)) AS code
"""
PLACED = """
    (SELECT DISTINCT sequence_number FROM {table} WHERE batch_id = :batch_id AND sequence_number > :after AND {holds}
     ORDER BY sequence_number) AS placed
    CROSS JOIN LATERAL (SELECT * FROM qr_codes WHERE batch_id = :batch_id AND sequence_number = placed.sequence_number
                        AND (status IN ('generated', 'printed') OR voided_by_closing) LIMIT 1) AS code
"""
IN_PLACE = {
    "excluded": PLACED.format(table="qr_excluded_codes", holds="true"),
    "prepared": PLACED.format(table="qr_prepared_codes", holds="status = 'prepared'"),
}


class CodeRepository(Repository):
    """Codes that were found are changed by their ids alone: with the batch beside them, a plan that is made without
    knowing the list may walk the whole batch and search the list for each of its codes.
    """

    async def find(self, codes: Sequence[str], *, batch_id: UUID | None = None) -> Sequence[Row[Any]]:
        """One row for each listed code, in that order; `id` is None where there is no such code (in the batch).

        Each code is looked up by itself in its unique index, the only one that fits inside the LIMIT. A plain join is
        planned by statistics, which a new batch does not have yet: it took 25 s for 1,000 codes of 100,000.
        """
        return await self._rows(
            "SELECT listed.code, code.* FROM unnest(CAST(:codes AS text[])) WITH ORDINALITY AS listed(code, place)"
            " LEFT JOIN LATERAL (SELECT code.id, code.batch_id, code.sequence_number, code.variant, code.status,"
            "   code.master_code_id, (SELECT master_code FROM qr_master_codes WHERE id = code.master_code_id),"
            f"  {EXCLUDED} AS excluded FROM qr_codes AS code WHERE code.code = listed.code LIMIT 1) AS code"
            " ON CAST(:batch_id AS uuid) IS NULL OR code.batch_id = :batch_id ORDER BY listed.place",
            codes=codes,
            batch_id=batch_id,
        )

    async def of_batch(
        self, batch_id: UUID, *, status: str | None, prefix: str | None, after: int, limit: int, with_keys: bool
    ) -> Sequence[Row[Any]]:
        """The codes of a batch in serial order, from behind the sequence number `after`.

        `status` may also be a place of the reconciliation sheet: `excluded` or `prepared`. `prefix`: of the code.
        """
        sealed = "code.root_key_sealed" if with_keys else "NULL"
        return await self._rows(
            "SELECT code.code, code.sequence_number, code.variant, code.status, code.recalled_at, box.master_code,"
            f" box.case_number, {sealed} AS root_key_sealed"
            f" FROM {IN_PLACE.get(status or '', ANYWHERE)}"
            " LEFT JOIN qr_master_codes AS box ON box.id = code.master_code_id"
            " WHERE (CAST(:prefix AS text) IS NULL OR starts_with(code.code, :prefix))"
            " ORDER BY code.sequence_number LIMIT :limit",
            batch_id=batch_id,
            after=after,
            limit=limit,
            prefix=prefix,
            **({} if status in IN_PLACE else {"status": status}),
        )

    async def of_case(self, case_id: int, *, after: int = 0, limit: int) -> Sequence[Row[Any]]:
        """The codes in the case in serial order, from behind the sequence number `after`."""
        return await self._rows(
            "SELECT code.id, code.batch_id, code.code, code.sequence_number, code.variant, code.status"
            " FROM qr_master_codes AS held JOIN qr_codes AS code ON code.batch_id = held.batch_id"
            " AND code.sequence_number BETWEEN held.first_sequence AND held.last_sequence"
            " AND code.master_code_id = held.id WHERE held.id = :case_id AND code.sequence_number > :after"
            " ORDER BY code.sequence_number LIMIT :limit",
            case_id=case_id,
            after=after,
            limit=limit,
        )

    async def mark_printed(self, batch_id: UUID, ids: Sequence[int] | None) -> Row[Any]:
        """Prints what is generated of these codes, or of the batch (None): how many, and their numbers as ranges."""
        chosen = "batch_id = :batch_id" if ids is None else "id = ANY(CAST(:ids AS bigint[]))"
        return await self._row(
            "WITH changed AS (UPDATE qr_codes SET status = 'printed', printed_at = clock_timestamp()"
            f" WHERE {chosen} AND status = 'generated' RETURNING sequence_number){CHANGED_RANGES}",
            **({"batch_id": batch_id} if ids is None else {"ids": ids}),
        )

    async def mark_void(self, ids: Sequence[int], case_ids: Sequence[int], reason: str) -> int:
        """Out of their cases and void; how many. The count is short where one was redeemed meanwhile."""
        voided = await self._run(
            "UPDATE qr_codes SET status = 'void', voided_at = clock_timestamp(), void_reason = :reason,"
            " master_code_id = NULL WHERE id = ANY(CAST(:ids AS bigint[])) AND status NOT IN ('redeemed', 'void')",
            ids=ids,
            reason=reason,
        )
        await self._recount(case_ids)
        return voided

    async def void_unpacked(self, batch_id: UUID, reason: str) -> Row[Any]:
        """Voids whatever is neither packed nor with a customer: how many, and their numbers as ranges."""
        return await self._row(
            "WITH changed AS (UPDATE qr_codes SET status = 'void', voided_at = clock_timestamp(),"
            " void_reason = :reason, voided_by_closing = true"
            " WHERE batch_id = :batch_id AND status IN ('generated', 'printed') RETURNING sequence_number)"
            f"{CHANGED_RANGES}",
            batch_id=batch_id,
            reason=reason,
        )

    async def unpack(self, ids: Sequence[int], case_ids: Sequence[int]) -> int:
        """Back to what they were before they were packed; how many. Short where one was scanned meanwhile."""
        unpacked = await self._run(
            "UPDATE qr_codes SET status = CASE WHEN printed_at IS NULL THEN 'generated' ELSE 'printed' END,"
            " master_code_id = NULL, released_at = clock_timestamp()"
            " WHERE id = ANY(CAST(:ids AS bigint[])) AND status = 'packed'",
            ids=ids,
        )
        await self._recount(case_ids)
        return unpacked

    async def _recount(self, case_ids: Sequence[int]) -> None:
        """Counts what is left in the cases that codes were taken out of: open again when that is nothing."""
        await self._run(
            "UPDATE qr_master_codes AS box SET actual_units = inside.units,"
            " status = CASE WHEN inside.units = 0 THEN 'open' ELSE 'packed' END,"
            " completeness = CASE WHEN inside.units > 0 THEN box.completeness END,"
            " packed_at = CASE WHEN inside.units > 0 THEN box.packed_at END,"
            " packed_by = CASE WHEN inside.units > 0 THEN box.packed_by END,"
            " station = CASE WHEN inside.units > 0 THEN box.station END,"
            f" {SET_SPAN} FROM {count_inside()} WHERE held.id = ANY(CAST(:ids AS bigint[])) AND box.id = held.id",
            ids=case_ids,
        )

    async def exclude(
        self, batch_id: UUID, sequences: Sequence[int], *, organisation_id: UUID, job_id: UUID | None, actor: str
    ) -> int:
        """Keeps the codes out of the queue from now on; how many were not excluded in the same way before."""
        return await self._run(
            "INSERT INTO qr_excluded_codes (manufacturer_org_id, batch_id, sequence_number, job_id, excluded_by)"
            " SELECT :organisation, :batch_id, number, CAST(:job_id AS uuid), :actor"
            " FROM unnest(CAST(:sequences AS int[])) AS number ON CONFLICT DO NOTHING",
            organisation=organisation_id,
            batch_id=batch_id,
            sequences=sequences,
            job_id=job_id,
            actor=actor,
        )

    async def exclusions(self, batch_id: UUID, sequence_number: int, *, limit: int) -> Sequence[Row[Any]]:
        """By which job, when and by whom the code is excluded, oldest first; no job: a station found it missing."""
        return await self._rows(
            "SELECT job_id, created_at AS excluded_at, excluded_by FROM qr_excluded_codes"
            " WHERE batch_id = :batch_id AND sequence_number = :sequence_number ORDER BY id LIMIT :limit",
            batch_id=batch_id,
            sequence_number=sequence_number,
            limit=limit,
        )

    async def readmit(self, batch_id: UUID, sequences: Sequence[int]) -> list[int]:
        """Ends every exclusion of these codes; the sequence numbers that were excluded."""
        rows = await self._rows(
            "WITH ended AS (DELETE FROM qr_excluded_codes WHERE batch_id = :batch_id"
            " AND sequence_number = ANY(CAST(:sequences AS int[])) RETURNING sequence_number)"
            " SELECT DISTINCT sequence_number FROM ended ORDER BY sequence_number",
            batch_id=batch_id,
            sequences=sequences,
        )
        return [row.sequence_number for row in rows]
