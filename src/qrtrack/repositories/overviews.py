"""The figures of an organisation's overview: running work, queues, packed cases, errors, and what needs a person. The
overview reads them every three seconds, so each statement reads few rows by an index, however much is stored.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from qrtrack.domain.matching import MOST_COUNTED
from qrtrack.repositories.base import Repository
from qrtrack.repositories.case_prints import NOT_PRINTED_LATER
from qrtrack.repositories.gauges import PRINTER_IS_AWAY
from qrtrack.repositories.leased import Queue
from qrtrack.repositories.queues import CREATING, HASHING, LABEL_JOBS, QUEUES, REVERSE_JOBS
from qrtrack.repositories.verification.alerts import IS_RECALL_LIFTED

# Counts stop at one more than the page shows, which is then written as 10,000+.
COUNTED: Final = MOST_COUNTED + 1
# At most this many chunks are read: a batch of 1,000,000 codes has hundreds of them in the queue. Batches whose chunks
# are behind them appear later.
CHUNKS: Final = 1000

# Selects the first rows of a queue in the order of claiming.
HEAD: Final = """
SELECT {columns}
FROM {table} AS job
WHERE job.manufacturer_org_id = :organisation_id AND {live}
ORDER BY job.priority DESC, job.run_at, job.id
LIMIT {limit}
"""
DEPTH: Final = """
SELECT '{kind}' AS kind,
       count(*) FILTER (WHERE head.status = '{queued}')::int AS queued,
       count(*) FILTER (WHERE head.status = '{running}')::int AS running,
       EXTRACT(epoch FROM now() - min(head.run_at)
           FILTER (WHERE head.status = '{queued}' AND head.run_at <= now()))::float8 AS oldest_seconds
FROM ({head}) AS head
"""


def _head(queue: Queue, columns: str, limit: str) -> str:
    return HEAD.format(columns=columns, table=queue.table, live=queue.live, limit=limit)


def _depth(queue: Queue) -> str:
    head = _head(queue, "job.status, job.run_at", ":counted")
    return DEPTH.format(kind=queue.kind, queued=queue.queued, running=queue.running, head=head)


def _running_job(queue: Queue) -> str:
    return f"""
    (SELECT '{queue.kind}' AS kind, job.id, job.batch_id, batch.product_name AS name, job.status,
            job.progress::int AS progress, COALESCE(job.started_at, job.created_at) AS since
     FROM ({_head(queue, "job.*", ":limit")}) AS job
     JOIN qr_batches AS batch ON batch.id = job.batch_id)
    """


def _running_stage(queue: Queue, done: str, total: str) -> str:
    return f"""
    (SELECT '{queue.kind}', batch.id, batch.id, batch.product_name, batch.status,
            (100::bigint * batch.{done} / GREATEST(batch.{total}, 1))::int, batch.created_at
     FROM (SELECT DISTINCT chunk.batch_id FROM ({_head(queue, "job.batch_id", ":chunks")}) AS chunk) AS stage
     JOIN qr_batches AS batch ON batch.id = stage.batch_id
     ORDER BY batch.id
     LIMIT :limit)
    """


DEPTHS: Final = " UNION ALL ".join(_depth(queue) for queue in QUEUES if queue.seen_with)
RUNNING: Final = f"""
{_running_job(REVERSE_JOBS)}
UNION ALL
{_running_job(LABEL_JOBS)}
UNION ALL
{_running_stage(CREATING, "items_created", "quantity")}
UNION ALL
{_running_stage(HASHING, "keys_hashed", "keys_to_hash")}
UNION ALL
(SELECT 'progress', batch_id, batch_id, name, status, progress_percentage::int, COALESCE(started_at, created_at)
 FROM sync_batch_progress
 WHERE manufacturer_org_id = :organisation_id AND status = 'processing'
 ORDER BY batch_id DESC
 LIMIT :limit)
"""
PACKED: Final = """
SELECT station, EXTRACT(hour FROM packed_at AT TIME ZONE :zone)::int AS hour, count(*)::int AS cases
FROM qr_master_codes
WHERE manufacturer_org_id = :organisation_id AND packed_at >= :since
GROUP BY 1, 2
"""
# A failed job stays failed until somebody retries it, and an unknown print job stays unknown. So only failed jobs of
# the last 7 days and unknown print jobs of the last day count.
WANTED: Final = {
    "failed_jobs": """
        FROM qr_reverse_jobs
        WHERE manufacturer_org_id = :organisation_id AND status = 'failed' AND finished_at > now() - interval '7 days'
        """,
    "failed_label_jobs": """
        FROM label_jobs
        WHERE manufacturer_org_id = :organisation_id AND status = 'failed' AND finished_at > now() - interval '7 days'
        """,
    "failed_batches": """
        FROM qr_batches
        WHERE manufacturer_org_id = :organisation_id AND status = 'failed' AND closed_at IS NULL
        """,
    "unknown_prints": f"""
        FROM print_jobs AS job
        WHERE manufacturer_org_id = :organisation_id AND status = 'unknown'
          AND finished_at > now() - interval '1 day'
          AND {NOT_PRINTED_LATER}
        """,
    "printers_away": f"""
        FROM (SELECT DISTINCT printer_id
              FROM print_jobs
              WHERE manufacturer_org_id = :organisation_id AND {PRINTER_IS_AWAY}) AS away
        """,
    "dead_webhooks": """
        FROM webhook_queue
        WHERE manufacturer_org_id = :organisation_id AND status = 'dead'
        """,
    "unknown_dispatches": """
        FROM t_akselgate_open_attempts AS held
        JOIN t_akselgate_transaction_log AS log ON log.id = held.attempt_id
        WHERE held.manufacturer_org_id = :organisation_id AND log.outcome = 'unknown'
        """,
    "verification_alerts": f"""
        FROM verification_alerts AS row
        WHERE manufacturer_org_id = :organisation_id AND raised_at > now() - interval '1 day'
          AND NOT ({IS_RECALL_LIFTED})
        """,
    "verification_reports": """
        FROM verification_reports
        WHERE manufacturer_org_id = :organisation_id AND reported_at > now() - interval '1 day'
        """,
}
COUNT_WANTED: Final = " UNION ALL ".join(
    f"SELECT '{name}' AS name, count(*)::int AS things FROM (SELECT {rows} LIMIT :counted) AS found"
    for name, rows in WANTED.items()
)
ERRORS: Final = """
SELECT *
FROM ((SELECT 'reverse_job' AS kind, id::text AS id, batch_id, finished_at AS at, error_message AS message
       FROM qr_reverse_jobs
       WHERE manufacturer_org_id = :organisation_id AND status = 'failed'
       ORDER BY finished_at DESC
       LIMIT :limit)
      UNION ALL
      (SELECT 'label_job', id::text, batch_id, finished_at, error_message
       FROM label_jobs
       WHERE manufacturer_org_id = :organisation_id AND status = 'failed'
       ORDER BY finished_at DESC
       LIMIT :limit)
      UNION ALL
      (SELECT 'print_job', id::text, batch_id, finished_at, error_message
       FROM print_jobs
       WHERE manufacturer_org_id = :organisation_id AND status IN ('failed', 'unknown')
       ORDER BY finished_at DESC
       LIMIT :limit)
      UNION ALL
      (SELECT 'batch', id::text, id, updated_at, error_message
       FROM qr_batches
       WHERE manufacturer_org_id = :organisation_id AND status = 'failed'
       ORDER BY qr_batches.id DESC
       LIMIT :limit)
      UNION ALL
      (SELECT 'webhook_event', id::text, CAST(NULL AS uuid), finished_at, error
       FROM webhook_queue
       WHERE manufacturer_org_id = :organisation_id AND status = 'dead'
       ORDER BY webhook_queue.id DESC
       LIMIT :limit)) AS newest
WHERE kind = ANY(CAST(:kinds AS text[]))
ORDER BY at DESC
LIMIT :limit
"""


class OwnQueue(NamedTuple):
    """One queue. The sum of `queued` and `running` is at most COUNTED. `oldest_seconds` says how long the oldest queued
    piece has been due; None when nothing is due.
    """

    kind: str
    queued: int
    running: int
    oldest_seconds: float | None


class RunningWork(NamedTuple):
    """Long work that is queued or runs. For the kind `progress`, `batch_id` is the progress batch."""

    kind: str
    id: UUID
    batch_id: UUID
    name: str
    status: str
    progress: int
    since: datetime


class PackedHour(NamedTuple):
    """Cases that a station packed in one hour of the day, and that are still packed."""

    station: str | None
    hour: int
    cases: int


class Count(NamedTuple):
    name: str
    things: int


class LastError(NamedTuple):
    kind: str
    id: str
    batch_id: UUID | None
    at: datetime
    message: str | None


class OverviewRepository(Repository):
    async def queues(self, organisation_id: UUID) -> Sequence[OwnQueue]:
        """Returns the queues. Pieces that a worker holds in a group are counted as queued."""
        return await self._fetch_all(OwnQueue, DEPTHS, organisation_id=organisation_id, counted=COUNTED)

    async def running(self, organisation_id: UUID, *, limit: int) -> Sequence[RunningWork]:
        """Returns at most `limit` rows of each kind."""
        return await self._fetch_all(RunningWork, RUNNING, organisation_id=organisation_id, limit=limit, chunks=CHUNKS)

    async def packed(self, organisation_id: UUID, *, since: datetime, zone: str) -> Sequence[PackedHour]:
        """Returns the packed cases by station and hour of the day in `zone`."""
        return await self._fetch_all(PackedHour, PACKED, organisation_id=organisation_id, since=since, zone=zone)

    async def wanted(self, organisation_id: UUID) -> dict[str, int]:
        """Counts what needs a person, by the names of WANTED. Each count stops at COUNTED."""
        return dict(await self._fetch_all(Count, COUNT_WANTED, organisation_id=organisation_id, counted=COUNTED))

    async def errors(self, organisation_id: UUID, kinds: Sequence[str], *, limit: int) -> Sequence[LastError]:
        """Returns the latest errors of these kinds, newest first."""
        return await self._fetch_all(LastError, ERRORS, organisation_id=organisation_id, kinds=kinds, limit=limit)
