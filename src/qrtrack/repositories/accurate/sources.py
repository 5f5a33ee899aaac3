"""How the connection to Accurate fares: who spoke last, what waits, what belongs to nobody, and until when it lasts."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from qrtrack.repositories.base import Repository
from qrtrack.repositories.leased import WAITING_ORGANISATIONS
from qrtrack.repositories.queues import WEBHOOK_EVENTS, WEBHOOK_RETRIES

COUNTED = 100_000
# A look at each organisation's head of the queue, which a million events behind it do not make longer.
HEADS = (
    WAITING_ORGANISATIONS
    + """
SELECT head.created_at FROM organisation CROSS JOIN LATERAL (
    SELECT job.created_at FROM {table} AS job
    WHERE job.manufacturer_org_id = organisation.manufacturer_org_id AND {live}
    ORDER BY job.priority DESC, job.run_at, job.id LIMIT 100) AS head
"""
)
OLDEST = " UNION ALL ".join(
    f"({HEADS.format(table=queue.table, live=queue.live)})" for queue in (WEBHOOK_EVENTS, WEBHOOK_RETRIES)
)
NAMED = """
unnest(CAST(:databases AS bigint[]), CAST(:organisations AS uuid[])) AS named (database_id, organisation)
"""
ASSIGN = f"""
UPDATE webhook_queue AS event
SET manufacturer_org_id = owner.organisation, run_at = now(), updated_at = now(),
    status = CASE event.status WHEN 'unassigned' THEN 'pending' ELSE event.status END,
    forward_status = CASE WHEN :pass_on AND event.status = 'unassigned' THEN 'pending' END
FROM (SELECT waiting.id, named.organisation
      FROM {NAMED} JOIN webhook_queue AS waiting ON waiting.database_id = named.database_id
      WHERE waiting.manufacturer_org_id IS NULL ORDER BY waiting.id LIMIT :chunk FOR UPDATE OF waiting SKIP LOCKED)
     AS owner
WHERE event.id = owner.id
"""
ASSIGN_CONFLICTS = f"""
UPDATE webhook_conflicts AS conflict SET manufacturer_org_id = named.organisation
FROM {NAMED} WHERE conflict.database_id = named.database_id AND conflict.manufacturer_org_id IS NULL
"""
# Rows of one transaction of a task that walks the queue.
CHUNK = 5000


class AccurateSourceRepository(Repository):
    async def sources(self) -> Sequence[Row[Any]]:
        return await self._rows(
            "SELECT database_id, type, EXTRACT(epoch FROM clock_timestamp() - last_event_at)::float8 AS silent_seconds"
            " FROM accurate_sources ORDER BY database_id, type"
        )

    async def unassigned(self) -> Sequence[Row[Any]]:
        """Events of databases that belong to nobody, by database."""
        return await self._rows(
            "SELECT database_id, count(*) AS events FROM webhook_queue"
            " WHERE manufacturer_org_id IS NULL AND status = 'unassigned' GROUP BY database_id ORDER BY database_id"
        )

    async def counts(self) -> Row[Any]:
        """`oldest_pending_seconds` is None when nothing waits; of what is `to_pass_on` so many are counted at most."""
        return await self._row(
            "SELECT (SELECT count(*) FROM webhook_queue WHERE status = 'dead') AS dead,"
            " (SELECT COALESCE(sum(times), 0) FROM webhook_conflicts) AS conflicts,"
            f" (SELECT EXTRACT(epoch FROM clock_timestamp() - min(created_at))::float8 FROM ({OLDEST}) AS heads)"
            "  AS oldest_pending_seconds,"
            " (SELECT count(*) FROM (SELECT FROM webhook_queue WHERE forward_status = 'pending' LIMIT :counted)"
            "  AS waiting) AS to_pass_on",
            counted=COUNTED,
        )

    async def subscription(self) -> Row[Any] | None:
        """None before the first renewal."""
        return await self._row_or_none(
            "SELECT expires_on, renewed_at, failures, error_message FROM accurate_subscription WHERE id = 1"
        )

    async def is_renewed_today(self) -> bool:
        """Somewhat less than a day ago, so that the hour of renewal does not wander."""
        return bool(
            await self._scalar(
                "SELECT renewed_at > now() - interval '23 hours' FROM accurate_subscription WHERE id = 1"
            )
        )

    async def mark_renewed(self, expires_on: date) -> None:
        await self._run(
            "INSERT INTO accurate_subscription (id, expires_on, renewed_at) VALUES (1, :expires_on, now())"
            " ON CONFLICT (id) DO UPDATE SET expires_on = EXCLUDED.expires_on, renewed_at = EXCLUDED.renewed_at,"
            " error_message = NULL",
            expires_on=expires_on,
        )

    async def mark_renewal_failed(self, error: str) -> None:
        await self._run(
            "INSERT INTO accurate_subscription AS known (id, failures, error_message) VALUES (1, 1, :error)"
            " ON CONFLICT (id) DO UPDATE SET failures = known.failures + 1, error_message = EXCLUDED.error_message",
            error=error,
        )

    async def assign(self, owners: Mapping[int, UUID], *, pass_on: bool) -> int:
        """Gives what came for nobody to the owners that are known now, a chunk of it; how many. What is no event stays
        invalid, for its owner to see.
        """
        named = {"databases": list(owners), "organisations": list(owners.values())}
        await self._run(ASSIGN_CONFLICTS, **named)
        return await self._run(ASSIGN, **named, pass_on=pass_on, chunk=CHUNK)

    async def empty_payloads(self, *, days: int) -> int:
        """Of a chunk of ended events past their days, and of conflicts; uuid and hash stay. How many."""
        return await self._run(
            "UPDATE webhook_queue SET payload = '', updated_at = now() WHERE id IN ("
            " SELECT id FROM webhook_queue WHERE payload <> '' AND status IN ('done', 'skipped', 'invalid', 'dead')"
            " AND forward_status IS DISTINCT FROM 'pending' AND created_at < now() - make_interval(days => :days)"
            " ORDER BY created_at LIMIT :chunk FOR UPDATE SKIP LOCKED)",
            days=days,
            chunk=CHUNK,
        ) + await self._run(
            "UPDATE webhook_conflicts SET payload = ''"
            " WHERE payload <> '' AND last_at < now() - make_interval(days => :days)",
            days=days,
        )
