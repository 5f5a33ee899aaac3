"""Packing a case from the queue of its batch, on the driver's own connection, since it is hot."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final
from uuid import UUID

import asyncpg

from qrtrack.domain.errors import NotFound
from qrtrack.domain.packing.case_packing import OrderMismatch, QueueRow, Skipped
from qrtrack.repositories.base import Connection
from qrtrack.repositories.packing.batches import check_packable, no_such_batch

SKIPPED_LIMIT: Final = 1000
NAMED: Final = re.compile(r"(?<!:):([a-z_]+)")

# The next rows of the queue as one array a column, in serial order, and whether each may still be packed. Each code is
# looked up by itself in its unique index: behind a LIMIT that it does not know, the planner would join the whole batch.
WINDOW = """
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

# What packing has to know, in one round trip: the batch, the case, the run of its variant, from where jobs under way
# may still fill the queue, and the queue's next rows.
CONTEXT = f"""
SELECT batch.order_id, batch.status AS batch_status, batch.codes_created_at, batch.closed_at,
       batch.uniq_code, batch.gtin, batch.lot, batch.serial_mode,
       box.id AS case_id, box.batch_id AS case_batch_id, box.master_code, box.case_number, box.variant,
       box.expected_units, box.actual_units, box.status, box.completeness, box.first_code, box.last_code,
       box.packed_at, box.packed_by, box.station,
       run.first_sequence, run.last_sequence, run.queue_head,
       (SELECT min(next_sequence) FROM qr_reverse_jobs AS job
        WHERE job.batch_id = :batch_id AND job.status IN ('queued', 'running')) AS filling_from,
       queue.*
FROM qr_batches AS batch
LEFT JOIN qr_master_codes AS box ON box.master_code = :master_code
LEFT JOIN qr_batch_variants AS run ON run.batch_id = box.batch_id AND run.variant IS NOT DISTINCT FROM box.variant
LEFT JOIN LATERAL ({
    WINDOW.format(
        first="GREATEST(run.queue_head, run.first_sequence)",
        last="run.last_sequence",
        limit="(LEAST(COALESCE(CAST(:units AS int), box.expected_units), box.expected_units) + CAST(:spare AS int))",
    )
}) AS queue ON true
WHERE batch.id = :batch_id
"""

WINDOW_OF_RANGE = WINDOW.format(first=":first", last=":last", limit=":limit")

# What waits in the queue from its head up to the scanned first unit. Counting stops at a limit: with many stations,
# each with a label roll of its own, hundreds of thousands of units may wait there, and the batch is locked meanwhile.
# Where the rows alone are more than the limit, their codes are not looked up: 0.3 instead of 2 ms.
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
WINDOW_BEHIND = f"""
SELECT queue.*,
       CASE WHEN (SELECT count(*) FROM (SELECT FROM qr_prepared_codes AS queued WHERE {BEFORE}
                                        LIMIT :most + 1) AS rows) > :most THEN :most + 1
            ELSE (SELECT count(*) FROM (SELECT {SKIPPED}) AS waiting) END AS skipped,
       (SELECT queued.code {SKIPPED} LIMIT 1) AS skipped_first,
       (SELECT queued.code {SKIPPED} DESC LIMIT 1) AS skipped_last
FROM ({WINDOW_OF_RANGE}) AS queue
"""

PACK = """
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
        last_code = :last_code, packed_at = clock_timestamp(), packed_by = :actor, station = :station
    WHERE id = :case_id AND status = 'open' RETURNING 1
), moved AS (
    UPDATE qr_batch_variants SET queue_head = :queue_head
    WHERE batch_id = :batch_id AND first_sequence = :run_first AND queue_head < :queue_head
), event AS (
    INSERT INTO trace_events (manufacturer_org_id, action, actor, station, batch_id, master_code_id, sequences,
                              unit_count, details)
    SELECT CAST(:organisation_id AS uuid), 'case.packed', :actor, :station, :batch_id, :case_id,
           (SELECT range_agg(int4range(number, number, '[]')) FROM unnest(CAST(:sequences AS int[])) AS number),
           :units, jsonb_build_object('master_code', CAST(:master_code AS text), 'case_number',
               CAST(:case_number AS int), 'first_code', CAST(:first_code AS text), 'last_code',
               CAST(:last_code AS text), 'completeness', CAST(:completeness AS text))
)
SELECT (SELECT count(*) FROM packed) AS packed, (SELECT count(*) FROM consumed) AS consumed,
       (SELECT count(*) FROM filled) AS filled
"""


@dataclass(frozen=True, slots=True)
class Packing:
    """One case to be packed; the ids are those of the run, in serial order."""

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
    run_first: int
    queue_head: int
    actor: str
    station: str | None


class Row(asyncpg.Record):
    """Its columns are attributes, as those of other rows are."""

    def __getattr__(self, column: str) -> Any:
        try:
            return self[column]
        except KeyError as error:
            raise AttributeError(column) from error


class CasePacking:
    """Bound to the transaction that holds the batch's lock."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def context(
        self, batch_id: UUID, order_id: UUID, master_code: str, *, units: int | None, spare: int
    ) -> tuple[Row, list[QueueRow]]:
        """The case of the organisation, perhaps of another batch than the packable one, and the head of the queue that
        it is packed from: `spare` rows more than the case's units (or `units`).

        Raises NotFound, OrderMismatch, BatchNotReady, BatchClosed.
        """
        found = await self._row(CONTEXT, batch_id=batch_id, master_code=master_code, units=units, spare=spare)
        if found is None:
            raise no_such_batch(batch_id)
        if found.order_id != order_id:
            raise OrderMismatch
        check_packable(found.batch_status, found.codes_created_at, found.closed_at)
        if found.case_id is None:
            raise NotFound(f"There is no master case {master_code} in your organisation. Scan the case's own QR.")
        return found, _queue(found)

    async def window(self, batch_id: UUID, first: int, last: int, *, limit: int) -> list[QueueRow]:
        """The first `limit` prepared codes of the range, in serial order."""
        return _queue(await self._row(WINDOW_OF_RANGE, batch_id=batch_id, first=first, last=last, limit=limit))

    async def window_behind(
        self, batch_id: UUID, first: int, last: int, *, head: int, limit: int
    ) -> tuple[list[QueueRow], Skipped | None]:
        """The first `limit` prepared codes of the range, and what it leaves behind in the queue from `head` on."""
        found = await self._row(
            WINDOW_BEHIND, batch_id=batch_id, first=first, last=last, head=head, limit=limit, most=SKIPPED_LIMIT
        )
        more = found.skipped > SKIPPED_LIMIT
        skipped = Skipped(min(found.skipped, SKIPPED_LIMIT), found.skipped_first, found.skipped_last, more)
        return _queue(found), skipped if skipped.count else None

    async def pack(self, packing: Packing) -> bool:
        """Code, queue, case, queue head and trace event in one statement. False: a code was taken meanwhile by
        something that needs no batch lock (a consumer's scan), so that the transaction must be given up.
        """
        units = len(packing.code_ids)
        done = await self._row(
            PACK,
            **{name: getattr(packing, name) for name in Packing.__slots__},
            units=units,
            first_sequence=packing.sequences[0],
            last_sequence=packing.sequences[-1],
        )
        return bool(done.packed == units and done.consumed == units and done.filled == 1)

    async def _row(self, sql: str, **values: Any) -> Any:
        statement, names = _numbered(sql)
        return await self._connection.fetchrow(statement, *(values[name] for name in names), record_class=Row)


@cache
def _numbered(sql: str) -> tuple[str, list[str]]:
    """The statement as the driver takes it, with numbers for the names of its parameters, and the names in order."""
    places: dict[str, int] = {}
    statement = NAMED.sub(lambda found: f"${places.setdefault(found[1], len(places) + 1)}", sql)
    return statement, list(places)


def _queue(found: Row) -> list[QueueRow]:
    """Aggregates of no rows are NULL."""
    if found.prepared_ids is None:
        return []
    columns = (found.prepared_ids, found.code_ids, found.sequences, found.codes, found.packable, found.checked)
    return list(map(QueueRow, *columns))
