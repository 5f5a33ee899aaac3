"""Streams of events that are passed on: what of each waits, and how each attempt ended."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from qrtrack.repositories.accurate.processing import LOADED_BYTES
from qrtrack.repositories.base import Repository

WINDOW = 100

# A stream that waits because its endpoint failed goes on waiting; one that waits for a single event does not.
TOUCH = """
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
# Nothing is asked of the status: the planner would then go through all that belongs to nobody, of whatever database.
STREAM = """
SELECT id, manufacturer_org_id, database_id, type, touched, COALESCE((
    SELECT unowned.id FROM webhook_queue AS unowned
    WHERE unowned.manufacturer_org_id IS NULL AND unowned.database_id = stream.database_id ORDER BY unowned.id LIMIT 1
) < (
    SELECT first.id FROM webhook_queue AS first
    WHERE first.manufacturer_org_id = stream.manufacturer_org_id AND first.database_id = stream.database_id
    AND first.type = stream.type AND first.forward_status = 'pending' ORDER BY first.id LIMIT 1
), false) AS is_early
FROM webhook_streams AS stream WHERE id = :id
"""
WAITING = """
SELECT id, type, payload, is_due, seconds, created_at FROM (
    SELECT id, type, created_at, COALESCE(forward_at <= clock_timestamp(), true) AS is_due,
           EXTRACT(epoch FROM forward_at - clock_timestamp())::float8 AS seconds,
           CASE WHEN sum(octet_length(payload)) OVER (ORDER BY id) - octet_length(payload) < :bytes THEN payload END
           AS payload
    FROM (SELECT * FROM webhook_queue
          WHERE manufacturer_org_id = :organisation AND database_id = :database_id AND type = :type
          AND forward_status = 'pending' AND id > :after ORDER BY id LIMIT :window) AS first
) AS sized WHERE payload IS NOT NULL ORDER BY id
"""


class WebhookForwardingRepository(Repository):
    async def touch(self, streams: Iterable[tuple[UUID, int, str]]) -> None:
        """There is something to pass on in these (organisation, database, type)."""
        streams = set(streams)
        await self._run(
            TOUCH,
            organisations=[organisation for organisation, _, _ in streams],
            databases=[database_id for _, database_id, _ in streams],
            types=[kind for _, _, kind in streams],
        )

    async def get(self, stream_id: int) -> Row[Any]:
        """`is_early`: what came before its first event has not found its owner yet."""
        return await self._row(STREAM, id=stream_id)

    async def waiting(self, stream: Row[Any], *, after: int) -> Sequence[Row[Any]]:
        """The stream's events behind the id `after` in the order of arrival; `seconds` until each is due."""
        return await self._rows(
            WAITING,
            after=after,
            organisation=stream.manufacturer_org_id,
            database_id=stream.database_id,
            type=stream.type,
            window=WINDOW,
            bytes=LOADED_BYTES,
        )

    async def mark_sent(self, event_id: int) -> None:
        await self._run(
            "UPDATE webhook_queue SET forward_status = 'sent', forward_attempts = forward_attempts + 1,"
            " forward_at = clock_timestamp(), forward_error = NULL, updated_at = now()"
            " WHERE id = :id AND forward_status = 'pending'",
            id=event_id,
        )

    async def mark_failed(self, event_id: int, error: str, *, backoff: Sequence[float]) -> float | None:
        """Counts the attempt. Seconds until the next; None when that was the last, and the event is given up."""
        delay = await self._scalar(
            "UPDATE webhook_queue SET forward_attempts = forward_attempts + 1, forward_error = :error,"
            " updated_at = now(),"
            " forward_status = CASE WHEN forward_attempts >= cardinality(CAST(:backoff AS float8[])) THEN 'dead'"
            " ELSE 'pending' END,"
            " forward_at = clock_timestamp() + make_interval(secs => COALESCE("
            "  (CAST(:backoff AS float8[]))[forward_attempts + 1], 0) * (0.75 + random() / 2))"
            " WHERE id = :id AND forward_status = 'pending'"
            " RETURNING CASE forward_status WHEN 'pending' THEN"
            "  EXTRACT(epoch FROM forward_at - clock_timestamp())::float8 END",
            id=event_id,
            error=error,
            backoff=list(backoff),
        )
        return None if delay is None else float(delay)

    async def mark_waiting(self, event_id: int, error: str, *, seconds: float) -> None:
        """The endpoint asked to wait: the attempt does not count."""
        await self._run(
            "UPDATE webhook_queue SET forward_error = :error, updated_at = now(),"
            " forward_at = clock_timestamp() + make_interval(secs => :seconds)"
            " WHERE id = :id AND forward_status = 'pending'",
            id=event_id,
            error=error,
            seconds=seconds,
        )
