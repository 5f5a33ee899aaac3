"""Gauges of the whole service: waiting and running work, and payments with an unknown outcome. They name no
organisation.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from qrtrack.domain.akselgate.attempts import ALARMING
from qrtrack.domain.verification.alerts import AlertKind
from qrtrack.repositories.base import Repository
from qrtrack.repositories.leased import WAITING_ORGANISATIONS, Queue
from qrtrack.repositories.queues import QUEUES

# Counting a million rows takes a second, so only about COUNTED rows of a queue are counted: for each organisation the
# first ones in the order of claiming, which usually contain the running and the oldest rows.
COUNTED: Final = 20_000
COUNTED_OF_EACH: Final = 500

QUEUE_DEPTH: Final = (
    "("
    + WAITING_ORGANISATIONS
    + """
SELECT '{kind}' AS kind,
       count(*) FILTER (WHERE head.status = '{queued}') AS queued,
       count(*) FILTER (WHERE head.status = '{running}') AS running,
       count(*) FILTER (WHERE head.lease_expires_at < now()) AS expired_leases,
       round(EXTRACT(epoch FROM now() - min(head.run_at)
           FILTER (WHERE head.status = '{queued}' AND head.run_at <= now())), 1)::float8 AS oldest_seconds
FROM organisation
CROSS JOIN LATERAL (
    SELECT job.status, job.run_at, job.lease_expires_at
    FROM {table} AS job
    WHERE job.manufacturer_org_id = organisation.manufacturer_org_id AND {live}
    ORDER BY job.priority DESC, job.run_at, job.id
    LIMIT (SELECT GREATEST(:counted / count(*), :of_each) FROM organisation)) AS head)
"""
)


def _depth(queue: Queue) -> str:
    return QUEUE_DEPTH.format(
        kind=queue.kind, queued=queue.queued, running=queue.running, table=queue.table, live=queue.live
    )


# Pieces in groups still have the status queued in their own rows.
QUEUE_DEPTHS: Final = f"""
SELECT queue.kind,
       GREATEST(queue.queued - held.pieces, 0) AS queued,
       queue.running + held.pieces AS running,
       queue.expired_leases + held.expired AS expired_leases,
       queue.oldest_seconds
FROM ({" UNION ALL ".join(map(_depth, QUEUES))}) AS queue
CROSS JOIN LATERAL (
    SELECT COALESCE(sum(cardinality(ids)), 0) AS pieces,
           COALESCE(sum(cardinality(ids)) FILTER (WHERE lease_expires_at < now()), 0) AS expired
    FROM leased_groups
    WHERE kind = queue.kind) AS held
"""
ALARMING_EVENTS: Final = f"""
SELECT kind, count(*) AS events
FROM t_akselgate_events
WHERE kind IN ({", ".join(f"'{kind}'" for kind in ALARMING)}) AND occurred_at > now() - interval '1 day'
GROUP BY kind
"""
UNKNOWN_DISPATCHES: Final = """
SELECT count(*)
FROM t_akselgate_open_attempts AS held
JOIN t_akselgate_transaction_log AS log ON log.id = held.attempt_id
WHERE log.outcome = 'unknown'
"""
# Print jobs that wait after a failed attempt, which nearly always means that the printer is away or not ready. Those
# younger than two minutes do not count: their next attempt may succeed.
PRINTER_IS_AWAY: Final = """
status IN ('queued', 'running') AND sending_at IS NULL AND error_message IS NOT NULL
AND created_at < now() - interval '2 minutes'
"""
PRINTERS_AWAY: Final = f"SELECT count(DISTINCT printer_id) FROM print_jobs WHERE {PRINTER_IS_AWAY}"


# The totals of all organisations. They name no organisation.
VERIFICATION_ALERTS: Final = """
SELECT kind, count(*) AS events
FROM verification_alerts
WHERE raised_at > now() - interval '1 day'
GROUP BY kind
"""
VERIFICATION_REPORTS: Final = """
SELECT count(*)
FROM verification_reports
WHERE reported_at > now() - interval '1 day'
"""


class QueueDepth(NamedTuple):
    """The queue of one kind of work. `oldest_seconds`: how long the oldest queued piece has been due; None when nothing
    is due.
    """

    kind: str
    queued: int
    running: int
    expired_leases: int
    oldest_seconds: float | None


class EventCount(NamedTuple):
    kind: str
    events: int


class GaugeRepository(Repository):
    async def queues(self) -> list[QueueDepth]:
        return await self._fetch_all(QueueDepth, QUEUE_DEPTHS, counted=COUNTED, of_each=COUNTED_OF_EACH)

    async def alarming_dispatch_events(self) -> Mapping[str, int]:
        """Returns the number of events in the last 24 hours by kind; 0 for a kind without events."""
        counted = await self._fetch_all(EventCount, ALARMING_EVENTS)
        return dict.fromkeys(map(str, ALARMING), 0) | dict(counted)

    async def verification_alerts(self) -> Mapping[str, int]:
        """Returns the number of alerts of the last 24 hours by kind; 0 for a kind without alerts."""
        counted = await self._fetch_all(EventCount, VERIFICATION_ALERTS)
        return dict.fromkeys(map(str, AlertKind), 0) | dict(counted)

    async def verification_reports(self) -> int:
        """Returns the number of consumers' reports of the last 24 hours."""
        return await self._fetch_value(int, VERIFICATION_REPORTS)

    async def unknown_dispatches(self) -> int:
        """Returns the number of attempts with an unknown outcome. Each blocks its settlement."""
        return await self._fetch_value(int, UNKNOWN_DISPATCHES)

    async def printers_away(self) -> int:
        """Returns the number of printers with an unsent print job that is older than two minutes and whose last attempt
        failed.
        """
        return await self._fetch_value(int, PRINTERS_AWAY)
