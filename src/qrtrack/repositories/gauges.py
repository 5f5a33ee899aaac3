"""Figures of the whole service: what waits, what runs, what nobody knows. They tell no organisation from another."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Row

from qrtrack.domain.akselgate.dispatches import ALARMING
from qrtrack.repositories.base import Repository
from qrtrack.repositories.leased import WAITING_ORGANISATIONS, Queue
from qrtrack.repositories.queues import QUEUES

# Counting a million rows takes a second. So many of a kind are counted, each organisation's in the order of claiming:
# running ones and the oldest stand in front.
COUNTED: Final = 20_000
COUNTED_OF_EACH: Final = 500

OF_QUEUE: Final = (
    "("
    + WAITING_ORGANISATIONS
    + """
SELECT '{kind}' AS kind, count(*) FILTER (WHERE head.status = '{queued}') AS queued,
       count(*) FILTER (WHERE head.status = '{running}') AS running,
       count(*) FILTER (WHERE head.lease_expires_at < now()) AS expired_leases,
       round(EXTRACT(epoch FROM now() - min(head.run_at)
           FILTER (WHERE head.status = '{queued}' AND head.run_at <= now())), 1)::float8 AS oldest_seconds
FROM organisation CROSS JOIN LATERAL (
    SELECT job.status, job.run_at, job.lease_expires_at FROM {table} AS job
    WHERE job.manufacturer_org_id = organisation.manufacturer_org_id AND {live}
    ORDER BY job.priority DESC, job.run_at, job.id
    LIMIT (SELECT GREATEST(:counted / count(*), :of_each) FROM organisation)) AS head)
"""
)


def _of(queue: Queue) -> str:
    return OF_QUEUE.format(
        kind=queue.kind, queued=queue.queued, running=queue.running, table=queue.table, live=queue.live
    )


# Pieces that are held in groups do not say so themselves.
QUEUES_NOW: Final = f"""
SELECT queue.kind, GREATEST(queue.queued - held.pieces, 0) AS queued, queue.running + held.pieces AS running,
       queue.expired_leases + held.expired AS expired_leases, queue.oldest_seconds
FROM ({" UNION ALL ".join(map(_of, QUEUES))}) AS queue CROSS JOIN LATERAL (
    SELECT COALESCE(sum(cardinality(ids)), 0) AS pieces,
           COALESCE(sum(cardinality(ids)) FILTER (WHERE lease_expires_at < now()), 0) AS expired
    FROM leased_groups WHERE kind = queue.kind) AS held
"""


class FigureRepository(Repository):
    async def queues(self) -> Sequence[Row[Any]]:
        """A row a kind. `oldest_seconds`: how long the oldest piece has been due, None when nothing is."""
        return await self._rows(QUEUES_NOW, counted=COUNTED, of_each=COUNTED_OF_EACH)

    async def alarming_dispatch_events(self) -> Mapping[str, int]:
        """Of the last 24 hours, by kind; kinds of which there is none too."""
        kinds = ", ".join(f"'{kind}'" for kind in ALARMING)
        found = await self._rows(
            f"SELECT kind, count(*) AS events FROM t_akselgate_events WHERE kind IN ({kinds})"
            " AND occurred_at > now() - interval '1 day' GROUP BY kind"
        )
        return dict.fromkeys(map(str, ALARMING), 0) | {row.kind: row.events for row in found}

    async def unknown_dispatches(self) -> int:
        """Attempts that may have been taken or not: each one holds a settlement."""
        return int(
            await self._scalar(
                "SELECT count(*) FROM t_akselgate_open_attempts AS held"
                " JOIN t_akselgate_transaction_log AS log ON log.id = held.attempt_id WHERE log.outcome = 'unknown'"
            )
        )
