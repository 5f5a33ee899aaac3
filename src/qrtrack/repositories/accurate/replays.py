"""Webhook events: looked at, and put back into the queue."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from qrtrack.domain.errors import NotFound
from qrtrack.repositories.base import Repository

SELECT_EVENT = """
SELECT id, type, database_id, uuid, status, attempts, error, note, created_at, updated_at, finished_at,
       forward_status, forward_attempts, forward_error
FROM webhook_queue
"""


class WebhookReplayRepository(Repository):
    async def page(
        self,
        *,
        status: str | None,
        type: str | None,  # noqa: A002 - the contract's name
        uuid: str | None,
        database_id: int | None,
        forward_status: str | None,
        before: int | None,
        limit: int,
    ) -> Sequence[Row[Any]]:
        """The caller's events, newest first."""
        return await self._rows(
            f"{SELECT_EVENT} WHERE (CAST(:status AS text) IS NULL OR status = :status)"
            " AND (CAST(:type AS text) IS NULL OR type = :type)"
            " AND (CAST(:uuid AS text) IS NULL OR uuid = :uuid)"
            " AND (CAST(:database_id AS bigint) IS NULL OR database_id = :database_id)"
            " AND (CAST(:forward_status AS text) IS NULL OR forward_status = :forward_status)"
            " AND (CAST(:before AS bigint) IS NULL OR id < :before) ORDER BY id DESC LIMIT :limit",
            status=status,
            type=type,
            uuid=uuid,
            database_id=database_id,
            forward_status=forward_status,
            before=before,
            limit=limit,
        )

    async def get(self, event_id: int) -> Row[Any]:
        """With its payload. Raises NotFound."""
        event = await self._row_or_none(
            SELECT_EVENT.replace("forward_error", "forward_error, payload") + "WHERE id = :id", id=event_id
        )
        if event is None:
            raise NotFound(f"Your organisation has no event {event_id}.")
        return event

    async def conflicts(self, event_id: int) -> Sequence[Row[Any]]:
        return await self._rows(
            "SELECT id, payload, times, created_at, last_at FROM webhook_conflicts WHERE queue_id = :id ORDER BY id",
            id=event_id,
        )

    async def replays(self, event_id: int) -> Sequence[Row[Any]]:
        return await self._rows(
            "SELECT id, replayed_at, actor, reason FROM webhook_replays"
            " WHERE selection -> 'ids' @> to_jsonb(CAST(:id AS bigint)) ORDER BY id",
            id=event_id,
        )

    async def replayable(self, *, after: int, limit: int, **selection: str | int | None) -> Sequence[int]:
        """The first ids behind `after` of events that fit (`status`, `type`, `database_id`, `forward_status`) and whose
        payload is still there.
        """
        given = {name: value for name, value in selection.items() if value is not None}
        conditions = "".join(f" AND {name} = :{name}" for name in given)
        rows = await self._rows(
            f"SELECT id FROM webhook_queue WHERE id > :after AND payload <> ''{conditions} ORDER BY id LIMIT :limit",
            after=after,
            limit=limit,
            **given,
        )
        return [row.id for row in rows]

    async def put_back(self, ids: Sequence[int], statuses: Sequence[str], *, pass_on: bool) -> Sequence[int]:
        """Back into the queue as if never tried: those still in one of the statuses whose payload is still there. Where
        they are to be passed on, they are once more.
        """
        rows = await self._rows(
            "UPDATE webhook_queue SET status = 'pending', attempts = 0, run_at = now(), updated_at = now(),"
            " started_at = NULL, finished_at = NULL, error = NULL, note = NULL,"
            " forward_status = CASE WHEN :pass_on OR forward_status = 'pending' THEN 'pending' END,"
            " forward_attempts = 0, forward_at = NULL, forward_error = NULL"
            " WHERE id = ANY(ARRAY(SELECT id FROM webhook_queue WHERE id = ANY(CAST(:ids AS bigint[]))"
            " AND status = ANY(CAST(:statuses AS text[])) AND payload <> '' ORDER BY id FOR NO KEY UPDATE))"
            " RETURNING id",
            ids=list(ids),
            pass_on=pass_on,
            statuses=list(statuses),
        )
        return sorted(row.id for row in rows)

    async def record_replay(
        self, *, organisation_id: UUID, actor: str, reason: str | None, selection: Mapping[str, Any], ids: Sequence[int]
    ) -> None:
        """Who, when and why, and which events it was in the end."""
        await self._run(
            "INSERT INTO webhook_replays (manufacturer_org_id, actor, reason, selection, event_count)"
            " VALUES (:organisation, :actor, :reason, CAST(:selection AS jsonb), :count)",
            organisation=organisation_id,
            actor=actor,
            reason=reason,
            selection=json.dumps({**selection, "ids": ids}),
            count=len(ids),
        )
