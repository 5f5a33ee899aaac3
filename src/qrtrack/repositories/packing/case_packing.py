"""Packs a case from the queue of its batch. This is the hot path, so it uses the driver's connection."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from qrtrack.domain.batches import no_such_batch
from qrtrack.domain.packing.case_packing import OrderMismatch, QueueRow, Skipped
from qrtrack.repositories.base import DriverRepository
from qrtrack.repositories.case_prints import ORDER_PRINTS, WAKE_PRINTING
from qrtrack.repositories.packing.batches import check_packable
from qrtrack.repositories.packing.cases import COLUMNS, FoundCase, no_such_case

SKIPPED_LIMIT: Final = 1000


def window(first: str, last: str, limit: str) -> str:
    """Returns SQL for the next rows of the queue, in serial order: one array for each column, and whether each row may
    still be packed.

    Each code is looked up by itself in its unique index: the planner does not know how few rows the LIMIT lets through,
    and would join the whole batch.
    """
    return f"""
SELECT array_agg(queued.id ORDER BY queued.sequence_number) AS prepared_ids,
       array_agg(code.id ORDER BY queued.sequence_number) AS code_ids,
       array_agg(queued.sequence_number ORDER BY queued.sequence_number) AS sequences,
       array_agg(queued.code ORDER BY queued.sequence_number) AS codes,
       array_agg(code.status IN ('generated', 'printed') AND NOT EXISTS (
           SELECT FROM qr_excluded_codes AS excluded WHERE excluded.batch_id = :batch_id
           AND excluded.sequence_number = queued.sequence_number) ORDER BY queued.sequence_number) AS packable,
       array_agg(code.status IN ('scanned', 'redeemed') AND code.master_code_id IS NULL
                 ORDER BY queued.sequence_number) AS checked
FROM (SELECT id, sequence_number, code FROM qr_prepared_codes
      WHERE batch_id = :batch_id AND status = 'prepared' AND sequence_number BETWEEN {first} AND {last}
      ORDER BY sequence_number LIMIT {limit}) AS queued
CROSS JOIN LATERAL (SELECT id, status, master_code_id FROM qr_codes
                    WHERE batch_id = :batch_id AND sequence_number = queued.sequence_number LIMIT 1) AS code
"""


WINDOW_OF_VARIANT = window(
    first="GREATEST(run.queue_head, run.first_sequence)",
    last="run.last_sequence",
    limit="(LEAST(COALESCE(CAST(:units AS int), box.expected_units), box.expected_units) + CAST(:spare AS int))",
)

# One round trip for the batch, the case, the range of its variant, the first number that jobs may still queue, and the
# queue's next rows. If there is no such case, its columns and the range are NULL. If the case is of another batch, the
# range is one of that batch.
CONTEXT = f"""
SELECT batch.order_id, batch.status AS batch_status, batch.codes_created_at, batch.closed_at,
       batch.uniq_code, batch.gtin, batch.lot, batch.serial_mode,
       run.first_sequence, run.last_sequence, run.queue_head,
       (SELECT min(next_sequence) FROM qr_reverse_jobs AS job
        WHERE job.batch_id = :batch_id AND job.status IN ('queued', 'running')) AS filling_from,
       queue.*, {COLUMNS}
FROM qr_batches AS batch
LEFT JOIN qr_master_codes AS box ON box.master_code = :master_code
LEFT JOIN qr_batch_variants AS run ON run.batch_id = box.batch_id AND run.variant IS NOT DISTINCT FROM box.variant
LEFT JOIN LATERAL ({WINDOW_OF_VARIANT}) AS queue ON true
WHERE batch.id = :batch_id
"""

WINDOW_OF_RANGE = window(first=":first", last=":last", limit=":limit")

# The units that wait in the queue between its head and the scanned first unit. Counting stops at a limit: with many
# stations, each with its own label roll, hundreds of thousands of units may wait there, and the batch is locked
# meanwhile. If there are more queue rows than the limit, their codes are not looked up: 0.3 ms instead of 2 ms.
BEFORE = """
queued.batch_id = :batch_id AND queued.status = 'prepared'
AND queued.sequence_number >= :head AND queued.sequence_number < :first
"""
SKIPPED = f"""
FROM qr_prepared_codes AS queued
CROSS JOIN LATERAL (SELECT status FROM qr_codes
                    WHERE batch_id = :batch_id AND sequence_number = queued.sequence_number LIMIT 1) AS code
WHERE {BEFORE} AND code.status IN ('generated', 'printed') ORDER BY queued.sequence_number
"""
WINDOW_AND_SKIPPED = f"""
SELECT queue.*,
       CASE WHEN (SELECT count(*) FROM (SELECT FROM qr_prepared_codes AS queued WHERE {BEFORE}
                                        LIMIT :most + 1) AS rows) > :most THEN :most + 1
            ELSE (SELECT count(*) FROM (SELECT {SKIPPED}) AS waiting) END AS skipped,
       (SELECT queued.code {SKIPPED} LIMIT 1) AS skipped_first,
       (SELECT queued.code {SKIPPED} DESC LIMIT 1) AS skipped_last
FROM ({WINDOW_OF_RANGE}) AS queue
"""

PACK = f"""
WITH packed AS (
    UPDATE qr_codes SET status = 'packed', master_code_id = :case_id
    WHERE id = ANY(CAST(:code_ids AS bigint[])) AND status IN ('generated', 'printed') RETURNING 1
), consumed AS (
    UPDATE qr_prepared_codes SET status = 'consumed', consumed_at = clock_timestamp()
    WHERE id = ANY(CAST(:prepared_ids AS bigint[])) AND status = 'prepared' RETURNING 1
), invalidated AS (
    UPDATE qr_prepared_codes SET status = 'invalid'
    WHERE id = ANY(CAST(:stale_ids AS bigint[])) AND status = 'prepared'
), filled AS (
    UPDATE qr_master_codes SET status = 'packed', actual_units = :units, completeness = :completeness,
        first_sequence = :first_sequence, last_sequence = :last_sequence, first_code = :first_code,
        last_code = :last_code, packed_at = clock_timestamp(), packed_by = :user_id, station = :station
    WHERE id = :case_id AND status = 'open' RETURNING 1
), moved AS (
    UPDATE qr_batch_variants SET queue_head = :queue_head
    WHERE batch_id = :batch_id AND first_sequence = :variant_first AND queue_head < :queue_head
), event AS (
    INSERT INTO trace_events (manufacturer_org_id, action, actor, station, batch_id, master_code_id, sequences,
                              unit_count, details)
    SELECT CAST(:organisation_id AS uuid), 'case.packed', :user_id, :station, :batch_id, :case_id,
           (SELECT range_agg(int4range(number, number, '[]')) FROM unnest(CAST(:sequences AS int[])) AS number),
           :units, jsonb_build_object('master_code', CAST(:master_code AS text), 'case_number',
               CAST(:case_number AS int), 'first_code', CAST(:first_code AS text), 'last_code',
               CAST(:last_code AS text), 'completeness', CAST(:completeness AS text))
), ordered AS ({ORDER_PRINTS})
SELECT (SELECT count(*) FROM packed) AS packed, (SELECT count(*) FROM consumed) AS consumed,
       (SELECT count(*) FROM filled) AS filled, ({WAKE_PRINTING}) AS woken
"""


class PackingContext(NamedTuple):
    """What packing reads before it packs a case.

    `first_sequence`, `last_sequence` and `queue_head` belong to the case's variant. From the number `filling_from` on,
    queued and running jobs may still queue codes.
    """

    order_id: UUID
    batch_status: str
    codes_created_at: datetime | None
    closed_at: datetime | None
    uniq_code: str
    gtin: str | None
    lot: str | None
    serial_mode: str
    first_sequence: int
    last_sequence: int
    queue_head: int
    filling_from: int | None
    prepared_ids: Sequence[int] | None
    code_ids: Sequence[int]
    sequences: Sequence[int]
    codes: Sequence[str]
    packable: Sequence[bool]
    checked: Sequence[bool]
    id: int | None
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

    @property
    def case(self) -> FoundCase:
        assert self.id is not None
        return FoundCase(self.id, *self[19:])

    @property
    def queue(self) -> list[QueueRow]:
        return Window(*self[12:18]).rows


class Window(NamedTuple):
    """Rows of the queue, as one array for each column. Without rows the arrays are NULL."""

    prepared_ids: Sequence[int] | None
    code_ids: Sequence[int]
    sequences: Sequence[int]
    codes: Sequence[str]
    packable: Sequence[bool]
    checked: Sequence[bool]

    @property
    def rows(self) -> list[QueueRow]:
        if self.prepared_ids is None:
            return []
        return list(map(QueueRow, self.prepared_ids, *self[1:]))


class WindowAndSkipped(NamedTuple):
    prepared_ids: Sequence[int] | None
    code_ids: Sequence[int]
    sequences: Sequence[int]
    codes: Sequence[str]
    packable: Sequence[bool]
    checked: Sequence[bool]
    skipped: int
    skipped_first: str
    skipped_last: str


class FilledCase(NamedTuple):
    """The data that packing writes. `code_ids`, `prepared_ids` and `sequences` are those of the packed units, in serial
    order. `stale_ids` are rows of the queue whose units may no longer be packed.
    """

    batch_id: UUID
    organisation_id: UUID
    case_id: int
    master_code: str
    case_number: int
    code_ids: Sequence[int]
    prepared_ids: Sequence[int]
    sequences: Sequence[int]
    stale_ids: Sequence[int]
    first_code: str
    last_code: str
    completeness: str
    variant_first: int
    queue_head: int
    user_id: str
    station: str | None


class RowsWritten(NamedTuple):
    """The result of packing. `woken` counts the print jobs that were queued for the case's label."""

    packed: int
    consumed: int
    filled: int
    woken: int


class CasePackingRepository(DriverRepository):
    """Packs a case. The caller's transaction must hold the batch lock."""

    async def fetch_context(
        self, batch_id: UUID, order_id: UUID, master_code: str, *, units: int | None, spare: int
    ) -> PackingContext:
        """Reads the case (which may be of another batch) and the next rows of the queue: `spare` more than the case
        holds, or `spare` more than `units`.

        Raises NotFound, OrderMismatch, BatchNotReady, BatchClosed.
        """
        found = await self._fetch_optional(
            PackingContext, CONTEXT, batch_id=batch_id, master_code=master_code, units=units, spare=spare
        )
        if found is None:
            raise no_such_batch(batch_id)
        if found.order_id != order_id:
            raise OrderMismatch
        check_packable(found.batch_status, found.codes_created_at, found.closed_at)
        if found.id is None:
            raise no_such_case(master_code)
        return found

    async def fetch_window(self, batch_id: UUID, first: int, last: int, *, limit: int) -> list[QueueRow]:
        """Returns the first `limit` prepared codes of the range, in serial order."""
        found = await self._fetch_one(Window, WINDOW_OF_RANGE, batch_id=batch_id, first=first, last=last, limit=limit)
        return found.rows

    async def fetch_window_and_skipped(
        self, batch_id: UUID, first: int, last: int, *, head: int, limit: int
    ) -> tuple[list[QueueRow], Skipped | None]:
        """Returns what `fetch_window` returns, and the units that remain in the queue between `head` and `first`."""
        found = await self._fetch_one(
            WindowAndSkipped,
            WINDOW_AND_SKIPPED,
            batch_id=batch_id,
            first=first,
            last=last,
            head=head,
            limit=limit,
            most=SKIPPED_LIMIT,
        )
        more = found.skipped > SKIPPED_LIMIT
        skipped = Skipped(min(found.skipped, SKIPPED_LIMIT), found.skipped_first, found.skipped_last, more)
        return Window(*found[:6]).rows, skipped if skipped.count else None

    async def pack(self, filled: FilledCase) -> bool:
        """Writes codes, queue, case, queue head, trace event and print jobs in one statement.

        Returns False if a consumer's scan, which takes no batch lock, has changed a code meanwhile. Then the caller
        must roll the transaction back.
        """
        units = len(filled.code_ids)
        written = await self._fetch_one(
            RowsWritten,
            PACK,
            **filled._asdict(),
            units=units,
            first_sequence=filled.sequences[0],
            last_sequence=filled.sequences[-1],
        )
        return written[:3] == (units, units, 1)
