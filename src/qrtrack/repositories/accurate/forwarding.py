"""Streams of events to forward: the pending events of each, and the result of each attempt."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from qrtrack.domain.claims import Claim
from qrtrack.repositories.accurate.processing import LOADED_BYTES
from qrtrack.repositories.base import Repository
from qrtrack.repositories.queues import WEBHOOK_STREAMS

WINDOW = 100

# A stream in back-off after a failure of its endpoint keeps its time. Any other stream becomes due at once.
TOUCH: Final = """
INSERT INTO webhook_streams AS stream (manufacturer_org_id, database_id, type, status, touched)
SELECT touched.organisation, touched.database_id, touched.type, 'queued', 1
FROM unnest(CAST(:organisations AS uuid[]), CAST(:databases AS bigint[]), CAST(:types AS text[]))
     AS touched (organisation, database_id, type)
ORDER BY touched.organisation, touched.database_id, touched.type
ON CONFLICT (manufacturer_org_id, database_id, type) DO UPDATE
SET touched = stream.touched + 1, finished_at = NULL,
    status = CASE stream.status WHEN 'completed' THEN 'queued' ELSE stream.status END,
    run_at = CASE WHEN stream.error_message IS NULL THEN LEAST(stream.run_at, now()) ELSE stream.run_at END
"""
# The status of unowned events is not a condition here: with it, the planner would scan the unowned events of every
# database.
GET_STREAM: Final = """
SELECT id, manufacturer_org_id, database_id, type, touched, COALESCE((
    SELECT unowned.id
    FROM webhook_queue AS unowned
    WHERE unowned.manufacturer_org_id IS NULL AND unowned.database_id = stream.database_id
    ORDER BY unowned.id LIMIT 1
) < (
    SELECT first.id
    FROM webhook_queue AS first
    WHERE first.manufacturer_org_id = stream.manufacturer_org_id AND first.database_id = stream.database_id
    AND first.type = stream.type AND first.forward_status = 'pending'
    ORDER BY first.id LIMIT 1
), false) AS is_early
FROM webhook_streams AS stream
WHERE id = :id
"""
PENDING: Final = """
SELECT id, type, payload, due_in, created_at
FROM (SELECT id, type, created_at, EXTRACT(epoch FROM forward_at - clock_timestamp())::float8 AS due_in,
             CASE WHEN sum(octet_length(payload)) OVER (ORDER BY id) - octet_length(payload) < :bytes THEN payload END
             AS payload
      FROM (SELECT *
            FROM webhook_queue
            WHERE manufacturer_org_id = :organisation AND database_id = :database_id AND type = :type
            AND forward_status = 'pending' AND id > :after
            ORDER BY id LIMIT :window) AS first) AS sized
WHERE payload IS NOT NULL
ORDER BY id
"""
# The conditions use the row's current values: events may have been added since the run began.
REQUEUE: Final = f"""
UPDATE webhook_streams
SET {WEBHOOK_STREAMS.unleased}, attempts = 0, error_message = :error,
    status = CASE WHEN CAST(:after AS float8) IS NULL AND touched = :seen THEN 'completed' ELSE 'queued' END,
    finished_at = CASE WHEN CAST(:after AS float8) IS NULL AND touched = :seen THEN clock_timestamp() END,
    run_at = clock_timestamp() + make_interval(secs => CASE
        WHEN touched <> :seen AND CAST(:error AS text) IS NULL THEN 0
        ELSE COALESCE(CAST(:after AS float8), 0) END)
WHERE {WEBHOOK_STREAMS.fence}
"""
MARK_SENT: Final = """
UPDATE webhook_queue
SET forward_status = 'sent', forward_attempts = forward_attempts + 1, forward_at = clock_timestamp(),
    forward_error = NULL, updated_at = now()
WHERE id = :id AND forward_status = 'pending'
"""
MARK_FAILED: Final = """
UPDATE webhook_queue
SET forward_attempts = forward_attempts + 1, forward_error = :error, updated_at = now(),
    forward_status = CASE WHEN forward_attempts >= cardinality(CAST(:backoff AS float8[]))
                     THEN 'dead' ELSE 'pending' END,
    forward_at = clock_timestamp() + make_interval(secs =>
        COALESCE((CAST(:backoff AS float8[]))[forward_attempts + 1], 0) * (0.75 + random() / 2))
WHERE id = :id AND forward_status = 'pending'
RETURNING CASE forward_status WHEN 'pending' THEN EXTRACT(epoch FROM forward_at - clock_timestamp())::float8 END
"""
POSTPONE: Final = """
UPDATE webhook_queue
SET forward_error = :error, forward_at = clock_timestamp() + make_interval(secs => :seconds), updated_at = now()
WHERE id = :id AND forward_status = 'pending'
"""


class Stream(NamedTuple):
    """A claimed stream. `touched` counts how often events were added. `is_early` says that an event of its database has
    no owner yet and arrived before the first pending event of the stream.
    """

    id: int
    manufacturer_org_id: UUID
    database_id: int
    type: str
    touched: int
    is_early: bool


class PendingEvent(NamedTuple):
    """A pending event. `due_in`: seconds until its next attempt; None before the first one."""

    id: int
    type: str
    payload: str
    due_in: float | None
    created_at: datetime


class WebhookForwardingRepository(Repository):
    async def touch(self, streams: Collection[tuple[UUID, int, str]]) -> None:
        """Queues these streams (organisation, database, type), after events were added to them."""
        await self._execute(
            TOUCH,
            organisations=[organisation for organisation, _, _ in streams],
            databases=[database_id for _, database_id, _ in streams],
            types=[kind for _, _, kind in streams],
        )

    async def get(self, stream_id: int) -> Stream:
        return await self._fetch_one(Stream, GET_STREAM, id=stream_id)

    async def pending(self, stream: Stream, *, after: int) -> Sequence[PendingEvent]:
        """Returns the next events after the id `after`, in order of arrival: up to WINDOW events, and no more
        once their payloads have reached LOADED_BYTES.
        """
        return await self._fetch_all(
            PendingEvent,
            PENDING,
            after=after,
            organisation=stream.manufacturer_org_id,
            database_id=stream.database_id,
            type=stream.type,
            window=WINDOW,
            bytes=LOADED_BYTES,
        )

    async def requeue(
        self, claim: Claim, *, after: float | None, error: str | None = None, seen: int | None = None
    ) -> None:
        """Releases the stream. It is due again after `after` seconds; or at once if events were added since `seen` and
        there is no `error` of the endpoint. With `after` None and nothing added, it is completed.

        Raises LeaseLost.
        """
        await self._execute_fenced(claim, REQUEUE, after=after, error=error, seen=seen)

    async def mark_sent(self, event_id: int) -> None:
        await self._execute(MARK_SENT, id=event_id)

    async def mark_failed(self, event_id: int, error: str, *, backoff: Sequence[float]) -> float | None:
        """Counts the attempt. Returns the seconds until the next one, or None when the event is dead."""
        return await self._find_value(float, MARK_FAILED, id=event_id, error=error, backoff=list(backoff))

    async def postpone(self, event_id: int, error: str, *, seconds: float) -> None:
        """Delays the event as the endpoint asked. The attempt is not counted."""
        await self._execute(POSTPONE, id=event_id, error=error, seconds=seconds)
