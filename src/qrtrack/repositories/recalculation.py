"""Counts rows again. For each kind of work: the row that stores its counters, and the rows that they count."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID

from qrtrack.repositories.base import Repository

CountedKind = Literal["sync_batch", "batch_items", "batch_hashes", "reverse_job"]

CountersT = TypeVar("CountersT", bound=NamedTuple)


@dataclass(frozen=True, slots=True)
class Countable(Generic[CountersT]):
    """How to count one kind of work. `counters` are columns of the table. `truth` is SQL that computes the same columns
    for `:id` from the counted rows. `in_progress` is the condition for the rows to examine. Only `countable` rows are
    counted: for others, the counted rows may already be deleted, or constraints already guarantee the counters.
    """

    kind: CountedKind
    table: str
    counters: type[CountersT]
    truth: str
    in_progress: str
    countable: str
    id: str = "id"


class SyncBatchCounters(NamedTuple):
    processed_records: int
    success_count: int
    failed_records: int
    progress_percentage: int
    status: str


class ItemCounters(NamedTuple):
    items_created: int


class HashCounters(NamedTuple):
    keys_hashed: int


class JobCounters(NamedTuple):
    prepared_count: int


SYNC_BATCHES: Final = Countable(
    kind="sync_batch",
    table="sync_batch_progress",
    id="batch_id",
    counters=SyncBatchCounters,
    truth="""
        SELECT counted.*,
               LEAST(100 * counted.processed_records / batch.total_records, 100) AS progress_percentage,
               CASE WHEN counted.processed_records < batch.total_records AND batch.status = 'cancelled' THEN 'cancelled'
                    WHEN counted.processed_records = 0 THEN 'pending'
                    WHEN counted.processed_records < batch.total_records THEN 'processing'
                    WHEN counted.success_count = 0 THEN 'failed'
                    ELSE 'completed' END AS status
        FROM sync_batch_progress AS batch,
             (SELECT count(*) AS processed_records,
                     count(*) FILTER (WHERE success) AS success_count,
                     count(*) FILTER (WHERE NOT success) AS failed_records
              FROM sync_batch_records
              WHERE batch_id = :id) AS counted
        WHERE batch.batch_id = :id
    """,
    in_progress="status = 'processing'",
    # Retention deletes records of batches that ended earlier, so those are not counted.
    countable="completed_at IS NULL OR completed_at > now() - interval '1 day'",
)
ITEMS: Final = Countable(
    kind="batch_items",
    table="qr_batches",
    counters=ItemCounters,
    truth="SELECT count(*) AS items_created FROM qr_codes WHERE batch_id = :id",
    in_progress="status = 'creating'",
    countable="status = 'creating'",
)
HASHES: Final = Countable(
    kind="batch_hashes",
    table="qr_batches",
    counters=HashCounters,
    truth="SELECT count(root_key_hash) AS keys_hashed FROM qr_codes WHERE batch_id = :id",
    in_progress="status = 'hashing'",
    countable="status IN ('hashing', 'failed') AND codes_created_at IS NOT NULL",
)
REVERSE_JOBS: Final = Countable(
    kind="reverse_job",
    table="qr_reverse_jobs",
    counters=JobCounters,
    truth="SELECT count(*) AS prepared_count FROM qr_prepared_codes WHERE job_id = :id",
    in_progress="status IN ('queued', 'running') AND counted_at IS NOT NULL",
    countable="status IN ('queued', 'running') AND counted_at IS NOT NULL",
)

FIND_IN_PROGRESS: Final = """
SELECT {id}
FROM {table}
WHERE {in_progress} AND {id} > :after AND updated_at <= clock_timestamp() - make_interval(secs => :silent)
ORDER BY {id}
LIMIT :limit
"""
LOCK: Final = "SELECT manufacturer_org_id FROM {table} WHERE {id} = :id AND ({countable}) FOR NO KEY UPDATE"
GET_COUNTERS: Final = "SELECT {counters} FROM {table} WHERE {id} = :id"
COUNT_REPAIR: Final = """
INSERT INTO count_repairs AS known (kind, repairs, last_repaired_at)
VALUES (:kind, 1, clock_timestamp())
ON CONFLICT (kind) DO UPDATE
SET repairs = known.repairs + 1, last_repaired_at = EXCLUDED.last_repaired_at
"""
LIST_REPAIRS: Final = "SELECT kind, repairs FROM count_repairs"
RESTORE_SYNC_BATCH: Final = """
UPDATE sync_batch_progress AS batch
SET processed_records = :processed_records,
    success_count = :success_count,
    failed_records = :failed_records,
    progress_percentage = :progress_percentage,
    status = :status,
    summary = NULL,
    updated_at = clock_timestamp(),
    started_at = COALESCE(batch.started_at, recorded.first),
    completed_at = CASE WHEN :status IN ('completed', 'failed', 'cancelled')
                        THEN COALESCE(batch.completed_at, recorded.last, now()) END
FROM (SELECT min(recorded_at) AS first, max(recorded_at) AS last
      FROM sync_batch_records
      WHERE batch_id = :batch_id) AS recorded
WHERE batch.batch_id = :batch_id
"""
RESTORE_JOB: Final = """
UPDATE qr_reverse_jobs
SET prepared_count = :prepared, remaining_to_prepare = :remaining, progress = GREATEST(progress, :progress),
    updated_at = now()
WHERE id = :job_id
"""


class Repairs(NamedTuple):
    kind: str
    repairs: int


class RecalculationRepository(Repository):
    async def in_progress(self, what: Countable[Any], *, silent_seconds: float, after: UUID, limit: int) -> list[UUID]:
        """Returns ids of rows in progress, in their order, that nothing has updated for `silent_seconds`."""
        statement = FIND_IN_PROGRESS.format(id=what.id, table=what.table, in_progress=what.in_progress)
        return await self._fetch_values(UUID, statement, after=after, silent=silent_seconds, limit=limit)

    async def lock(self, what: Countable[Any], id_: UUID) -> UUID | None:
        """Locks the row and returns its organisation, or None when there is nothing to count. Until this transaction
        ends, nobody changes the counters: earlier transactions have counted the rows that they added, later ones have
        not committed theirs.
        """
        statement = LOCK.format(id=what.id, table=what.table, countable=what.countable)
        return await self._find_value(UUID, statement, id=id_)

    async def counters(self, what: Countable[CountersT], id_: UUID) -> CountersT:
        columns = ", ".join(what.counters._fields)
        return await self._fetch_one(
            what.counters, GET_COUNTERS.format(counters=columns, table=what.table, id=what.id), id=id_
        )

    async def count(self, what: Countable[CountersT], id_: UUID) -> CountersT:
        """Returns what the counters should be. This statement comes after `lock`, so it sees what was committed while
        `lock` waited.
        """
        return await self._fetch_one(what.counters, what.truth, id=id_)

    async def count_repair(self, what: Countable[Any]) -> None:
        """Counts the repair. It must be the last statement of a repair: until the commit, it blocks other repairs of
        the kind.
        """
        await self._execute(COUNT_REPAIR, kind=what.kind)

    async def repairs(self) -> Mapping[str, int]:
        """Returns the number of repairs since the beginning, by kind. Kinds without repairs are left out."""
        return dict(await self._fetch_all(Repairs, LIST_REPAIRS))

    async def restore_sync_batch(self, batch_id: UUID, truth: SyncBatchCounters) -> None:
        """Corrects the counters and the status of a progress batch. If the batch has ended but has no end time, it gets
        the time of its last record.
        """
        await self._execute(RESTORE_SYNC_BATCH, batch_id=batch_id, **truth._asdict())

    async def restore_job(self, job_id: UUID, *, prepared: int, remaining: int, progress: int) -> None:
        await self._execute(RESTORE_JOB, job_id=job_id, prepared=prepared, remaining=remaining, progress=progress)
