"""Finds codes, and changes the state of whole lists of them."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from qrtrack.repositories.base import Repository
from qrtrack.repositories.case_prints import withdraw_prints
from qrtrack.repositories.packing.cases import CHANGED_RANGES, SET_SPAN, ChangedRanges, count_inside

CODES_AT_ONCE: Final = 1_000

COLUMNS = """
    code.code, code.id, code.batch_id, code.sequence_number, code.variant, code.status, code.master_code_id,
    (SELECT master_code FROM qr_master_codes WHERE id = code.master_code_id),
    EXISTS (SELECT FROM qr_excluded_codes AS excluded
            WHERE excluded.batch_id = code.batch_id AND excluded.sequence_number = code.sequence_number) AS excluded
"""

# Each code is looked up by itself in its unique index: with LIMIT 1, only this index fits. PostgreSQL plans a plain
# join by statistics, which a new batch does not have yet: it took 25 s for 1,000 codes of 100,000.
FIND = f"""
SELECT code.*
FROM unnest(CAST(:codes AS text[])) WITH ORDINALITY AS listed(code, place)
CROSS JOIN LATERAL (SELECT {COLUMNS} FROM qr_codes AS code WHERE code.code = listed.code LIMIT 1) AS code
WHERE CAST(:batch_id AS uuid) IS NULL OR code.batch_id = :batch_id
ORDER BY listed.place
"""

# The codes of a batch for `FROM`, after the sequence number `after`: all of one status, or all in one place of the
# reconciliation. A place is read from its own index, since the few excluded codes may be at the end of a million.
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
LIST = """
SELECT code.code, code.sequence_number,
       (SELECT uniq_code FROM qr_batches WHERE id = :batch_id),
       code.variant, code.status,
       COALESCE((SELECT true FROM qr_excluded_codes AS excluded
                 WHERE excluded.batch_id = :batch_id AND excluded.sequence_number = code.sequence_number
                 LIMIT 1), false) AS is_excluded,
       COALESCE((SELECT true FROM qr_prepared_codes AS prepared
                 WHERE prepared.batch_id = :batch_id AND prepared.sequence_number = code.sequence_number
                   AND prepared.status = 'prepared'
                 LIMIT 1), false) AS is_prepared,
       box.master_code, box.case_number,
       CASE WHEN :with_keys THEN code.root_key_sealed END AS root_key_sealed
FROM {codes}
LEFT JOIN qr_master_codes AS box ON box.id = code.master_code_id
WHERE CAST(:prefix AS text) IS NULL OR starts_with(code.code, :prefix)
ORDER BY code.sequence_number
LIMIT :limit
"""
LIST_ANYWHERE = LIST.format(codes=ANYWHERE)
LIST_IN_PLACE = {
    "excluded": LIST.format(codes=PLACED.format(table="qr_excluded_codes", holds="true")),
    "prepared": LIST.format(codes=PLACED.format(table="qr_prepared_codes", holds="status = 'prepared'")),
}

LIST_OF_CASE = f"""
SELECT {COLUMNS}
FROM qr_master_codes AS held
JOIN qr_codes AS code
  ON code.batch_id = held.batch_id
 AND code.sequence_number BETWEEN held.first_sequence AND held.last_sequence
 AND code.master_code_id = held.id
WHERE held.id = :case_id AND code.sequence_number > :after
ORDER BY code.sequence_number
LIMIT :limit
"""

# Found codes are changed by their ids alone. With the batch as a second condition, the plan, which is made without
# knowing the list, may read the whole batch and search the list for each of its codes.
SET_PRINTED = "UPDATE qr_codes SET status = 'printed', printed_at = clock_timestamp()"
MARK_PRINTED = f"""
WITH changed AS (
    {SET_PRINTED}
    WHERE id = ANY(CAST(:ids AS bigint[])) AND status = 'generated'
    RETURNING sequence_number
){CHANGED_RANGES}
"""
MARK_ALL_PRINTED = f"""
WITH changed AS (
    {SET_PRINTED}
    WHERE batch_id = :batch_id AND status = 'generated'
    RETURNING sequence_number
){CHANGED_RANGES}
"""

MARK_VOID = """
UPDATE qr_codes
SET status = 'void', voided_at = clock_timestamp(), void_reason = :reason, master_code_id = NULL
WHERE id = ANY(CAST(:ids AS bigint[])) AND status NOT IN ('redeemed', 'void')
"""

VOID_UNPACKED = f"""
WITH changed AS (
    UPDATE qr_codes
    SET status = 'void', voided_at = clock_timestamp(), void_reason = :reason, voided_by_closing = true
    WHERE batch_id = :batch_id AND status IN ('generated', 'printed')
    RETURNING sequence_number
){CHANGED_RANGES}
"""

UNPACK = """
UPDATE qr_codes
SET status = CASE WHEN printed_at IS NULL THEN 'generated' ELSE 'printed' END,
    master_code_id = NULL, unlinked_at = clock_timestamp()
WHERE id = ANY(CAST(:ids AS bigint[])) AND status = 'packed'
"""

# The label of a case that is open again is not printed any more.
RECOUNT_CASES = f"""
WITH recounted AS (
    UPDATE qr_master_codes AS box
    SET actual_units = inside.units,
        status = CASE WHEN inside.units = 0 THEN 'open' ELSE 'packed' END,
        completeness = CASE WHEN inside.units > 0 THEN box.completeness END,
        packed_at = CASE WHEN inside.units > 0 THEN box.packed_at END,
        packed_by = CASE WHEN inside.units > 0 THEN box.packed_by END,
        station = CASE WHEN inside.units > 0 THEN box.station END,
        {SET_SPAN}
    FROM {count_inside()}
    WHERE held.id = ANY(CAST(:ids AS bigint[])) AND box.id = held.id
    RETURNING box.id, box.status
)
{withdraw_prints("SELECT id FROM recounted WHERE status = 'open'")}
"""

EXCLUDE = """
INSERT INTO qr_excluded_codes (manufacturer_org_id, batch_id, sequence_number, job_id, excluded_by)
SELECT :organisation_id, :batch_id, number, CAST(:job_id AS uuid), :user_id
FROM unnest(CAST(:sequences AS int[])) AS number
ON CONFLICT DO NOTHING
"""

EXCLUSIONS = """
SELECT job_id, created_at AS excluded_at, excluded_by
FROM qr_excluded_codes
WHERE batch_id = :batch_id AND sequence_number = :sequence_number
ORDER BY id
LIMIT :limit
"""

READMIT = """
WITH ended AS (
    DELETE FROM qr_excluded_codes
    WHERE batch_id = :batch_id AND sequence_number = ANY(CAST(:sequences AS int[]))
    RETURNING sequence_number
)
SELECT DISTINCT sequence_number FROM ended ORDER BY sequence_number
"""


class FoundCode(NamedTuple):
    """A code of a batch. `master_code` is the case that the code is in."""

    code: str
    id: int
    batch_id: UUID
    sequence_number: int
    variant: str | None
    status: str
    master_code_id: int | None
    master_code: str | None
    excluded: bool


class ListedCode(NamedTuple):
    code: str
    sequence_number: int
    uniq_code: str
    variant: str | None
    status: str
    is_excluded: bool
    is_prepared: bool
    master_code: str | None
    case_number: int | None
    root_key_sealed: bytes | None


class Exclusion(NamedTuple):
    """Which reverse job excluded a code. `job_id` is None if a station found the unit missing, or if the clean-up has
    deleted the job.
    """

    job_id: UUID | None
    excluded_at: datetime
    excluded_by: str | None


class CodeRepository(Repository):
    async def find(self, codes: Sequence[str], *, batch_id: UUID | None = None) -> list[FoundCode]:
        """Returns the listed codes that exist (in the batch), in the order of the list."""
        return [row async for _, rows in self.find_in_parts(codes, batch_id=batch_id) for row in rows]

    async def find_in_parts(
        self, codes: Sequence[str], *, batch_id: UUID | None = None
    ) -> AsyncIterator[tuple[Sequence[str], list[FoundCode]]]:
        """Yields parts of the list with their codes that exist. Reading the rows of 100,000 codes at once would block
        the event loop for 200 ms; other requests run between two parts.
        """
        for first in range(0, len(codes), CODES_AT_ONCE):
            part = codes[first : first + CODES_AT_ONCE]
            yield part, await self._fetch_all(FoundCode, FIND, codes=part, batch_id=batch_id)

    async def list_of_batch(
        self, batch_id: UUID, *, status: str | None, prefix: str | None, after: int, limit: int, with_keys: bool
    ) -> Sequence[ListedCode]:
        """Returns codes of a batch in serial order, after the sequence number `after`.

        `status` selects a state of codes, or one of two places of the reconciliation: `excluded`, `prepared`. `prefix`
        selects the codes that begin with it.
        """
        return await self._fetch_all(
            ListedCode,
            LIST_IN_PLACE.get(status or "", LIST_ANYWHERE),
            batch_id=batch_id,
            after=after,
            limit=limit,
            prefix=prefix,
            with_keys=with_keys,
            **({} if status in LIST_IN_PLACE else {"status": status}),
        )

    async def list_of_case(self, case_id: int, *, after: int = 0, limit: int) -> list[FoundCode]:
        """Returns the codes in the case in serial order, after the sequence number `after`."""
        return await self._fetch_all(FoundCode, LIST_OF_CASE, case_id=case_id, after=after, limit=limit)

    async def mark_printed(self, ids: Sequence[int]) -> ChangedRanges:
        """Marks codes as printed. Codes that are not `generated` do not change."""
        return await self._fetch_one(ChangedRanges, MARK_PRINTED, ids=ids)

    async def mark_all_printed(self, batch_id: UUID) -> ChangedRanges:
        """Does the same as `mark_printed`, for the whole batch."""
        return await self._fetch_one(ChangedRanges, MARK_ALL_PRINTED, batch_id=batch_id)

    async def mark_void(self, ids: Sequence[int], case_ids: Sequence[int], reason: str) -> int:
        """Voids the codes and takes them out of their cases. Returns how many: fewer than listed if a consumer has
        redeemed one meanwhile.
        """
        voided = await self._execute(MARK_VOID, ids=ids, reason=reason)
        await self._execute(RECOUNT_CASES, ids=case_ids)
        return voided

    async def void_unpacked(self, batch_id: UUID, reason: str) -> ChangedRanges:
        """Voids all codes of the batch that are neither packed nor with a consumer."""
        return await self._fetch_one(ChangedRanges, VOID_UNPACKED, batch_id=batch_id, reason=reason)

    async def unpack(self, ids: Sequence[int], case_ids: Sequence[int]) -> int:
        """Returns packed codes to their state before packing. Returns how many: fewer than listed if a consumer has
        scanned one meanwhile.

        A case that is now empty is open again.
        """
        unpacked = await self._execute(UNPACK, ids=ids)
        await self._execute(RECOUNT_CASES, ids=case_ids)
        return unpacked

    async def exclude(
        self, batch_id: UUID, sequences: Sequence[int], *, organisation_id: UUID, user_id: str, job_id: UUID | None
    ) -> None:
        """Records that these codes must stay out of the queue. They are not taken out of it here."""
        await self._execute(
            EXCLUDE,
            organisation_id=organisation_id,
            batch_id=batch_id,
            sequences=sequences,
            job_id=job_id,
            user_id=user_id,
        )

    async def exclusions(self, batch_id: UUID, sequence_number: int, *, limit: int) -> Sequence[Exclusion]:
        """Returns the exclusions of one code, oldest first."""
        return await self._fetch_all(
            Exclusion, EXCLUSIONS, batch_id=batch_id, sequence_number=sequence_number, limit=limit
        )

    async def readmit(self, batch_id: UUID, sequences: Sequence[int]) -> Sequence[int]:
        """Ends every exclusion of these codes. Returns the sequence numbers that were excluded, in rising order."""
        return await self._fetch_values(int, READMIT, batch_id=batch_id, sequences=sequences)
