"""Webhook events for reading, and their replays."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Final, NamedTuple

from qrtrack.domain.accurate.replays import EventSelection
from qrtrack.domain.errors import NotFound
from qrtrack.domain.identity import Caller
from qrtrack.repositories.base import Repository
from qrtrack.repositories.queues import WEBHOOK_EVENTS

COLUMNS: Final = """id, type, database_id, uuid, status, attempts, error, note, created_at, updated_at, finished_at,
       forward_status, forward_attempts, forward_error"""
# Each statement is planned with its values, so a filter that is NULL costs nothing.
MATCHES: Final = """(CAST(:status AS text) IS NULL OR status = :status)
AND (CAST(:type AS text) IS NULL OR type = :type)
AND (CAST(:database_id AS bigint) IS NULL OR database_id = :database_id)
AND (CAST(:forward_status AS text) IS NULL OR forward_status = :forward_status)"""
PAGE: Final = f"""
SELECT {COLUMNS}, NULL AS payload
FROM webhook_queue
WHERE {MATCHES}
AND (CAST(:uuid AS text) IS NULL OR uuid = :uuid)
AND (NOT CAST(:conflicts AS bool) OR id = ANY(ARRAY(SELECT queue_id FROM webhook_conflicts)))
AND (CAST(:before AS bigint) IS NULL OR id < :before)
ORDER BY id DESC
LIMIT :limit
"""
GET: Final = f"""
SELECT {COLUMNS}, payload
FROM webhook_queue
WHERE id = :id
"""
CONFLICTS: Final = """
SELECT payload, times, created_at, last_at
FROM webhook_conflicts
WHERE queue_id = :id
ORDER BY id
"""
REPLAYS: Final = """
SELECT replayed_at, actor, reason
FROM webhook_replays
WHERE selection -> 'ids' @> to_jsonb(CAST(:id AS bigint))
ORDER BY id
"""
IS_REPLAYABLE: Final = "payload <> '' AND status = ANY(CAST(:statuses AS text[]))"
FIND_REPLAYABLE: Final = f"""
SELECT id
FROM webhook_queue
WHERE id > :after AND {IS_REPLAYABLE}
AND {MATCHES}
ORDER BY id
LIMIT :limit
"""
COUNT_REPLAYABLE: Final = f"""
SELECT count(*)
FROM (SELECT FROM webhook_queue WHERE {IS_REPLAYABLE} AND {MATCHES} LIMIT :limit) AS counted
"""
REQUEUE: Final = f"""
UPDATE webhook_queue
SET {WEBHOOK_EVENTS.requeued}, started_at = NULL, note = NULL, forward_attempts = 0, forward_at = NULL,
    forward_error = NULL, forward_status = CASE WHEN :forward OR forward_status = 'pending' THEN 'pending' END
WHERE id = ANY(ARRAY(
    SELECT id
    FROM webhook_queue
    WHERE id = ANY(CAST(:ids AS bigint[])) AND {IS_REPLAYABLE}
    AND (CAST(:forward_status AS text) IS NULL OR forward_status = :forward_status)
    ORDER BY id FOR NO KEY UPDATE))
RETURNING id
"""
ADD_REPLAY: Final = """
INSERT INTO webhook_replays (manufacturer_org_id, actor, reason, selection, event_count)
VALUES (:organisation, :actor, :reason, CAST(:selection AS jsonb), :count)
"""


class Event(NamedTuple):
    """One event. `payload` is None in lists, and empty after its retention period."""

    id: int
    type: str
    database_id: int | None
    uuid: str | None
    status: str
    attempts: int
    error: str | None
    note: str | None
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    forward_status: str | None
    forward_attempts: int
    forward_error: str | None
    payload: str | None


class Conflict(NamedTuple):
    payload: str
    times: int
    created_at: datetime
    last_at: datetime


class Replay(NamedTuple):
    replayed_at: datetime
    actor: str
    reason: str | None


class WebhookReplayRepository(Repository):
    async def page(
        self,
        selection: EventSelection,
        *,
        uuid: str | None,
        before: int | None,
        limit: int,
        conflicts: bool = False,
    ) -> Sequence[Event]:
        """Returns events, newest first, starting before the id `before`. `conflicts`: only those whose uuid arrived
        again with other content.
        """
        return await self._fetch_all(
            Event, PAGE, **asdict(selection), uuid=uuid, conflicts=conflicts, before=before, limit=limit
        )

    async def get(self, event_id: int) -> Event:
        """Raises NotFound."""
        return await self._fetch_existing(
            Event, GET, NotFound(f"Your organisation has no event {event_id}."), id=event_id
        )

    async def conflicts(self, event_id: int) -> Sequence[Conflict]:
        return await self._fetch_all(Conflict, CONFLICTS, id=event_id)

    async def replays(self, event_id: int) -> Sequence[Replay]:
        return await self._fetch_all(Replay, REPLAYS, id=event_id)

    async def find_replayable(
        self, selection: EventSelection, statuses: Sequence[str], *, after: int, limit: int
    ) -> Sequence[int]:
        """Returns the next ids after `after` of selected events that have one of the statuses and still have their
        payload.
        """
        values = asdict(selection) | {"statuses": list(statuses)}
        return await self._fetch_values(int, FIND_REPLAYABLE, **values, after=after, limit=limit)

    async def count_replayable(self, selection: EventSelection, statuses: Sequence[str], *, limit: int) -> int:
        """Counts the events that `find_replayable` would return, at most `limit` of them."""
        values = asdict(selection) | {"statuses": list(statuses)}
        return await self._fetch_value(int, COUNT_REPLAYABLE, **values, limit=limit)

    async def requeue(
        self, ids: Sequence[int], statuses: Sequence[str], *, forward_status: str | None = None, forward: bool
    ) -> Sequence[int]:
        """Queues events again with all attempts, if they have one of the statuses, the `forward_status` (unless it is
        None), and still their payload. With `forward` they are also forwarded again. Returns their ids.
        """
        values = {"ids": list(ids), "statuses": list(statuses), "forward_status": forward_status, "forward": forward}
        return sorted(await self._fetch_values(int, REQUEUE, **values))

    async def record_replay(
        self, caller: Caller, *, reason: str | None, selection: EventSelection | None, ids: Sequence[int]
    ) -> None:
        """Records the replay. `ids`: the events that it requeued."""
        filters = {} if selection is None else asdict(selection)
        await self._execute(
            ADD_REPLAY,
            organisation=caller.organisation_id,
            actor=caller.user_id,
            reason=reason,
            selection=json.dumps({**filters, "ids": ids}),
            count=len(ids),
        )
