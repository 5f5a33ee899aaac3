"""Webhook events on their way through the workers, and the newest state that they leave behind."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from qrtrack.domain.accurate import DocumentState
from qrtrack.domain.errors import NotFound
from qrtrack.repositories.base import Repository

# Memory for the payloads of one group; what is over it waits for the next.
LOADED_BYTES = 8 * 1024 * 1024

CONTENTS = """
SELECT id, payload FROM (
    SELECT id, payload, sum(octet_length(payload)) OVER (ORDER BY id) - octet_length(payload) AS bytes_before
    FROM webhook_queue WHERE id = ANY(CAST(:ids AS bigint[]))) AS sized
WHERE bytes_before < :bytes
"""
# Sorted, so that two groups that meet on the same documents do not wait for each other in a circle. Of one event's
# replay the state is written again: its handler may have learnt.
UPSERT = """
INSERT INTO accurate_documents AS document (manufacturer_org_id, database_id, type, entity_id, number, action, amount,
    event_at, event_id, deleted)
SELECT * FROM unnest(CAST(:organisations AS uuid[]), CAST(:databases AS bigint[]), CAST(:types AS text[]),
    CAST(:entities AS text[]), CAST(:numbers AS text[]), CAST(:actions AS text[]), CAST(:amounts AS numeric[]),
    CAST(:instants AS timestamptz[]), CAST(:events AS bigint[]), CAST(:deleted AS boolean[]))
    AS state (organisation, database_id, type, entity_id, number, action, amount, event_at, event_id, deleted)
ORDER BY organisation, database_id, type, entity_id
ON CONFLICT (manufacturer_org_id, database_id, type, entity_id) DO UPDATE
SET number = EXCLUDED.number, action = EXCLUDED.action, amount = EXCLUDED.amount, event_at = EXCLUDED.event_at,
    event_id = EXCLUDED.event_id, deleted = EXCLUDED.deleted, updated_at = now()
WHERE (document.event_at, document.event_id) <= (EXCLUDED.event_at, EXCLUDED.event_id)
"""
# A row that says as much already, to the second, is left alone: groups would stand in line for it.
HEARD = """
INSERT INTO accurate_sources AS source (database_id, type, last_event_at)
SELECT heard.database_id, heard.type, heard.last_event_at
FROM unnest(CAST(:databases AS bigint[]), CAST(:types AS text[]), CAST(:instants AS timestamptz[]))
     AS heard (database_id, type, last_event_at)
WHERE NOT EXISTS (SELECT FROM accurate_sources AS known
                  WHERE known.database_id = heard.database_id AND known.type = heard.type
                  AND known.last_event_at >= heard.last_event_at - interval '1 second')
ORDER BY heard.database_id, heard.type
ON CONFLICT (database_id, type) DO UPDATE
SET last_event_at = GREATEST(source.last_event_at, EXCLUDED.last_event_at)
"""


@dataclass(frozen=True, slots=True)
class NewestState:
    """A state with the entity and the event that it is of."""

    organisation_id: UUID
    database_id: int
    type: str
    event_id: int
    state: DocumentState


SELECT_EVENT = """
SELECT id, type, database_id, uuid, status, attempts, error, note, created_at, updated_at, finished_at,
       forward_status, forward_attempts, forward_error
FROM webhook_queue
"""


class WebhookEventRepository(Repository):
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

    async def put_back(self, statuses: Sequence[str], *, pass_on: bool, **selection: Any) -> list[int]:
        """Back into the queue as if never tried: of the selected events (`id`, `type`, `database_id`,
        `forward_status`) in one of the statuses those whose payload is still there. Where they are to be passed on,
        they are once more.
        """
        conditions = "".join(f" AND {name} = :{name}" for name, value in selection.items() if value is not None)
        rows = await self._rows(
            "UPDATE webhook_queue SET status = 'pending', attempts = 0, run_at = now(), updated_at = now(),"
            " started_at = NULL, finished_at = NULL, error = NULL, note = NULL,"
            " forward_status = CASE WHEN :pass_on OR forward_status = 'pending' THEN 'pending' END,"
            " forward_attempts = 0, forward_at = NULL, forward_error = NULL"
            f" WHERE status = ANY(CAST(:statuses AS text[])) AND payload <> ''{conditions} RETURNING id",
            statuses=list(statuses),
            pass_on=pass_on,
            **{name: value for name, value in selection.items() if value is not None},
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

    async def contents(self, ids: Sequence[int]) -> dict[int, str]:
        """By id; those that do not fit into memory beside the others are left out."""
        rows = await self._rows(CONTENTS, ids=list(ids), bytes=LOADED_BYTES)
        return {row.id: row.payload for row in rows}

    async def store_states(self, states: Sequence[NewestState]) -> None:
        """Each entity at most once. A state that is older than what is known changes nothing."""
        await self._run(
            UPSERT,
            organisations=[newest.organisation_id for newest in states],
            databases=[newest.database_id for newest in states],
            types=[newest.type for newest in states],
            entities=[newest.state.entity_id for newest in states],
            numbers=[newest.state.number for newest in states],
            actions=[newest.state.action for newest in states],
            amounts=[newest.state.amount for newest in states],
            instants=[newest.state.event_at for newest in states],
            events=[newest.event_id for newest in states],
            deleted=[newest.state.deleted for newest in states],
        )

    async def heard(self, sources: Mapping[tuple[int, str], datetime]) -> None:
        """When the last event of each database and type came."""
        await self._run(
            HEARD,
            databases=[database_id for database_id, _ in sources],
            types=[kind for _, kind in sources],
            instants=list(sources.values()),
        )
