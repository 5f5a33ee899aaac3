"""The state of the connection to Accurate: when each source last sent, the subscription, unassigned events, and
old payloads.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Final, NamedTuple
from uuid import UUID

from qrtrack.repositories.base import Repository
from qrtrack.repositories.leased import WAITING_ORGANISATIONS
from qrtrack.repositories.queues import WEBHOOK_EVENTS, WEBHOOK_RETRIES

# At most this many events that wait for forwarding are counted.
MAX_COUNTED: Final = 100_000
# One transaction of a periodic task changes at most this many rows.
CHUNK = 5000

SOURCES: Final = """
SELECT database_id, type, EXTRACT(epoch FROM clock_timestamp() - last_event_at)::float8 AS silent_seconds
FROM accurate_sources
ORDER BY database_id, type
"""
UNASSIGNED: Final = """
SELECT database_id, count(*) AS events
FROM webhook_queue
WHERE manufacturer_org_id IS NULL AND status = 'unassigned'
GROUP BY database_id
ORDER BY database_id
"""
# Reads only the first 100 events of each organisation in the order of claiming, so that a long queue costs no more.
FIRST_WAITING: Final = (
    WAITING_ORGANISATIONS
    + """
SELECT head.created_at
FROM organisation CROSS JOIN LATERAL (
    SELECT job.created_at
    FROM {table} AS job
    WHERE job.manufacturer_org_id = organisation.manufacturer_org_id AND {live}
    ORDER BY job.priority DESC, job.run_at, job.id
    LIMIT 100) AS head
"""
)
OLDEST_WAITING: Final = " UNION ALL ".join(
    f"({FIRST_WAITING.format(table=queue.table, live=queue.live)})" for queue in (WEBHOOK_EVENTS, WEBHOOK_RETRIES)
)
TOTALS: Final = f"""
SELECT (SELECT count(*) FROM webhook_queue WHERE status = 'dead') AS dead,
       (SELECT COALESCE(sum(times), 0)::bigint FROM webhook_conflicts) AS conflicts,
       (SELECT EXTRACT(epoch FROM clock_timestamp() - min(created_at))::float8 FROM ({OLDEST_WAITING}) AS heads)
       AS oldest_pending_seconds,
       (SELECT count(*)
        FROM (SELECT FROM webhook_queue WHERE forward_status = 'pending' LIMIT :max_counted) AS waiting) AS to_pass_on
"""
SUBSCRIPTION: Final = """
SELECT expires_on, renewed_at, failures, error_message
FROM accurate_subscription
WHERE id = 1
"""
# The interval is less than a day, so that the renewal can take place at the same hour every day.
IS_RENEWED_TODAY: Final = """
SELECT renewed_at > now() - interval '23 hours'
FROM accurate_subscription
WHERE id = 1
"""
MARK_RENEWED: Final = """
INSERT INTO accurate_subscription (id, expires_on, renewed_at)
VALUES (1, :expires_on, now())
ON CONFLICT (id) DO UPDATE
SET expires_on = EXCLUDED.expires_on, renewed_at = EXCLUDED.renewed_at, error_message = NULL
"""
MARK_RENEWAL_FAILED: Final = """
INSERT INTO accurate_subscription AS known (id, failures, error_message)
VALUES (1, 1, :error)
ON CONFLICT (id) DO UPDATE
SET failures = known.failures + 1, error_message = EXCLUDED.error_message
"""
OWNERS: Final = (
    """unnest(CAST(:databases AS bigint[]), CAST(:organisations AS uuid[])) AS owner (database_id, organisation)"""
)
ASSIGN_EVENTS: Final = f"""
UPDATE webhook_queue AS event
SET manufacturer_org_id = owned.organisation, run_at = now(), updated_at = now(),
    status = CASE event.status WHEN 'unassigned' THEN 'pending' ELSE event.status END,
    forward_status = CASE WHEN :forward AND event.status = 'unassigned' THEN 'pending' END
FROM (SELECT waiting.id, owner.organisation
      FROM {OWNERS} JOIN webhook_queue AS waiting ON waiting.database_id = owner.database_id
      WHERE waiting.manufacturer_org_id IS NULL
      ORDER BY waiting.id
      LIMIT :chunk FOR UPDATE OF waiting SKIP LOCKED) AS owned
WHERE event.id = owned.id
"""
ASSIGN_CONFLICTS: Final = f"""
UPDATE webhook_conflicts AS conflict
SET manufacturer_org_id = owner.organisation
FROM {OWNERS}
WHERE conflict.database_id = owner.database_id AND conflict.manufacturer_org_id IS NULL
"""
EMPTY_EVENTS: Final = """
UPDATE webhook_queue
SET payload = '', updated_at = now()
WHERE id IN (
    SELECT id
    FROM webhook_queue
    WHERE payload <> '' AND status IN ('done', 'skipped', 'invalid', 'dead')
    AND forward_status IS DISTINCT FROM 'pending' AND created_at < now() - make_interval(days => :days)
    ORDER BY created_at
    LIMIT :chunk FOR UPDATE SKIP LOCKED)
"""
EMPTY_CONFLICTS: Final = """
UPDATE webhook_conflicts
SET payload = ''
WHERE payload <> '' AND last_at < now() - make_interval(days => :days)
"""


class Source(NamedTuple):
    database_id: int
    type: str
    silent_seconds: float


class UnassignedEvents(NamedTuple):
    database_id: int | None
    events: int


class Totals(NamedTuple):
    """Figures of all events. `oldest_pending_seconds` is None when no event waits. `to_pass_on` counts up to
    MAX_COUNTED events.
    """

    dead: int
    conflicts: int
    oldest_pending_seconds: float | None
    to_pass_on: int


class Subscription(NamedTuple):
    expires_on: date | None
    renewed_at: datetime | None
    failures: int
    error_message: str | None


class AccurateSourceRepository(Repository):
    async def sources(self) -> Sequence[Source]:
        return await self._fetch_all(Source, SOURCES)

    async def unassigned(self) -> Sequence[UnassignedEvents]:
        return await self._fetch_all(UnassignedEvents, UNASSIGNED)

    async def totals(self) -> Totals:
        return await self._fetch_one(Totals, TOTALS, max_counted=MAX_COUNTED)

    async def subscription(self) -> Subscription | None:
        """Returns None before the first attempt to renew."""
        return await self._fetch_optional(Subscription, SUBSCRIPTION)

    async def is_renewed_today(self) -> bool:
        return bool(await self._find_value(bool, IS_RENEWED_TODAY))

    async def mark_renewed(self, expires_on: date) -> None:
        await self._execute(MARK_RENEWED, expires_on=expires_on)

    async def mark_renewal_failed(self, error: str) -> None:
        await self._execute(MARK_RENEWAL_FAILED, error=error)

    async def assign(self, owners: Mapping[int, UUID], *, forward: bool) -> int:
        """Assigns up to CHUNK events, and all conflicts, of these databases to their owners. Unassigned events become
        pending, and with `forward` they are also forwarded. Events in another state, such as invalid ones, stay in it,
        and their owner sees them from now on. Returns the number of events, without conflicts.
        """
        named = {"databases": list(owners), "organisations": list(owners.values())}
        await self._execute(ASSIGN_CONFLICTS, **named)
        return await self._execute(ASSIGN_EVENTS, **named, forward=forward, chunk=CHUNK)

    async def empty_payloads(self, *, days: int) -> int:
        """Empties the payloads of up to CHUNK events and of all conflicts that are older than `days`. The events must
        have ended and must not wait for forwarding. Uuid and hash stay. Returns the number of payloads.
        """
        emptied = await self._execute(EMPTY_EVENTS, days=days, chunk=CHUNK)
        return emptied + await self._execute(EMPTY_CONFLICTS, days=days)
