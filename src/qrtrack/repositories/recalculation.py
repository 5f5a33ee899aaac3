"""Counting again from the truth: for each kind of work the row that keeps its counters, and the rows they count."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Row

from qrtrack.repositories.base import Repository

CountedKind = Literal["sync_batch", "batch_items", "batch_hashes", "reverse_job"]


@dataclass(frozen=True, slots=True)
class Countable:
    """How one kind of work is counted. `counters` are columns of its table, and `truth` selects the same names from
    the rows that the work has left, for `:id`. Only rows that are `in_progress` are looked for, and only those that
    are `countable` are counted: of others the truth may be gone, or held by constraints.
    """

    kind: CountedKind
    table: str
    counters: Sequence[str]
    truth: str
    in_progress: str
    countable: str
    id: str = "id"


SYNC_BATCHES = Countable(
    kind="sync_batch",
    table="sync_batch_progress",
    id="batch_id",
    counters=("processed_records", "success_count", "failed_records", "progress_percentage", "status"),
    truth="""
        SELECT counted.*, LEAST(100 * counted.processed_records / batch.total_records, 100) AS progress_percentage,
               CASE WHEN counted.processed_records < batch.total_records AND batch.status = 'cancelled' THEN 'cancelled'
                    WHEN counted.processed_records = 0 THEN 'pending'
                    WHEN counted.processed_records < batch.total_records THEN 'processing'
                    WHEN counted.success_count = 0 THEN 'failed' ELSE 'completed' END AS status
        FROM sync_batch_progress AS batch,
             (SELECT count(*) AS processed_records, count(*) FILTER (WHERE success) AS success_count,
                     count(*) FILTER (WHERE NOT success) AS failed_records
              FROM sync_batch_records WHERE batch_id = :id) AS counted
        WHERE batch.batch_id = :id
    """,
    in_progress="status = 'processing'",
    # Later the clean-up may be at its records.
    countable="completed_at IS NULL OR completed_at > now() - interval '1 day'",
)
ITEMS = Countable(
    kind="batch_items",
    table="qr_batches",
    counters=("items_created",),
    truth="SELECT count(*) AS items_created FROM qr_codes WHERE batch_id = :id",
    in_progress="status = 'creating'",
    countable="status = 'creating'",
)
HASHES = Countable(
    kind="batch_hashes",
    table="qr_batches",
    counters=("keys_hashed",),
    truth="SELECT count(root_key_hash) AS keys_hashed FROM qr_codes WHERE batch_id = :id",
    in_progress="status = 'hashing'",
    countable="status IN ('hashing', 'failed') AND codes_created_at IS NOT NULL",
)
REVERSE_JOBS = Countable(
    kind="reverse_job",
    table="qr_reverse_jobs",
    counters=("prepared_count",),
    truth="SELECT count(*) AS prepared_count FROM qr_prepared_codes WHERE job_id = :id",
    in_progress="status IN ('queued', 'running') AND counted_at IS NOT NULL",
    countable="status IN ('queued', 'running') AND counted_at IS NOT NULL",
)


class RecountRepository(Repository):
    async def in_progress(self, what: Countable, *, silent_seconds: float, after: UUID, limit: int) -> Sequence[UUID]:
        """Those of the kind, by their ids, that nothing has moved for so long; with 0 all of them."""
        rows = await self._rows(
            f"SELECT {what.id} AS id FROM {what.table} WHERE {what.in_progress} AND {what.id} > :after"
            " AND updated_at <= clock_timestamp() - make_interval(secs => :silent) ORDER BY 1 LIMIT :limit",
            after=after,
            silent=silent_seconds,
            limit=limit,
        )
        return [row.id for row in rows]

    async def hold(self, what: Countable, id_: UUID) -> Row[Any] | None:
        """Owner and counters of the row. Nobody moves them before this transaction ends: who has left rows by then has
        counted them, and who is about to count has not committed them. None where there is nothing to count.
        """
        return await self._row_or_none(
            f"SELECT manufacturer_org_id, {', '.join(what.counters)} FROM {what.table}"
            f" WHERE {what.id} = :id AND ({what.countable}) FOR NO KEY UPDATE",
            id=id_,
        )

    async def count(self, what: Countable, id_: UUID) -> Row[Any]:
        """What the counters ought to be. A statement after `hold`: it sees what was committed while that waited."""
        return await self._row(what.truth, id=id_)

    async def count_repair(self, what: Countable) -> None:
        """The last statement of a repair: other repairs of the kind wait for it."""
        await self._run(
            "INSERT INTO count_repairs AS known (kind, repairs, last_repaired_at) VALUES (:kind, 1, clock_timestamp())"
            " ON CONFLICT (kind) DO UPDATE SET repairs = known.repairs + 1,"
            " last_repaired_at = EXCLUDED.last_repaired_at",
            kind=what.kind,
        )

    async def repairs(self) -> Mapping[str, int]:
        """How many there were, ever, by kind; kinds without any are left out."""
        return {row.kind: row.repairs for row in await self._rows("SELECT kind, repairs FROM count_repairs")}

    async def restore_sync_batch(self, batch_id: UUID, truth: Row[Any]) -> None:
        """A batch that turns out to be over ended with its last record."""
        await self._run(
            "UPDATE sync_batch_progress AS batch SET processed_records = :processed, success_count = :succeeded,"
            " failed_records = :failed, progress_percentage = :percentage, status = :status, summary = NULL,"
            " updated_at = clock_timestamp(), started_at = COALESCE(batch.started_at, recorded.first),"
            " completed_at = CASE WHEN :status IN ('completed', 'failed', 'cancelled')"
            "  THEN COALESCE(batch.completed_at, recorded.last, now()) END"
            " FROM (SELECT min(recorded_at) AS first, max(recorded_at) AS last FROM sync_batch_records"
            "  WHERE batch_id = :batch_id) AS recorded WHERE batch.batch_id = :batch_id",
            batch_id=batch_id,
            processed=truth.processed_records,
            succeeded=truth.success_count,
            failed=truth.failed_records,
            percentage=truth.progress_percentage,
            status=truth.status,
        )

    async def restore_job(self, job_id: UUID, *, prepared: int, remaining: int, progress: int) -> None:
        await self._run(
            "UPDATE qr_reverse_jobs SET prepared_count = :prepared, remaining_to_prepare = :remaining,"
            " progress = GREATEST(progress, :progress), updated_at = now() WHERE id = :job_id",
            job_id=job_id,
            prepared=prepared,
            remaining=remaining,
            progress=progress,
        )
