"""What processing reads of events, and what it leaves behind: the newest state of each document, and when each source
was last heard. On the driver's own connection, since it is hot.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from qrtrack.domain.accurate.documents import DocumentState
from qrtrack.domain.claims import Piece
from qrtrack.repositories.base import Connection
from qrtrack.repositories.queues import WEBHOOK_EVENTS

# Memory for the payloads of one group; what is over it waits for the next.
LOADED_BYTES = 8 * 1024 * 1024

CONTENTS = """
SELECT id, payload FROM (
    SELECT id, payload, sum(octet_length(payload)) OVER (ORDER BY id) - octet_length(payload) AS bytes_before
    FROM webhook_queue WHERE id = ANY($1::bigint[])) AS sized
WHERE bytes_before < $2
"""
ONE = f"""
SELECT job.id, job.manufacturer_org_id, {", ".join(WEBHOOK_EVENTS.carries)} FROM webhook_queue AS job WHERE id = $1
"""
# Sorted, so that two groups that meet on the same documents do not wait for each other in a circle. Of one event's
# replay the state is written again: its handler may have learnt.
UPSERT = """
INSERT INTO accurate_documents AS document (manufacturer_org_id, database_id, type, entity_id, number, action, amount,
    event_at, event_id, deleted)
SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[],
    $4::text[], $5::text[], $6::text[], $7::numeric[],
    $8::timestamptz[], $9::bigint[], $10::boolean[])
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
FROM unnest($1::bigint[], $2::text[], $3::timestamptz[])
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


class WebhookProcessingRepository:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def event(self, event_id: int) -> Piece:
        """An event that was taken by itself, as one of a group."""
        (event,) = await self._connection.fetch(ONE, event_id)
        return event

    async def contents(self, ids: Sequence[int]) -> dict[int, str]:
        """By id; those that do not fit into memory beside the others are left out."""
        return {row["id"]: row["payload"] for row in await self._connection.fetch(CONTENTS, ids, LOADED_BYTES)}

    async def store_states(self, states: Sequence[NewestState]) -> None:
        """Each entity at most once. A state that is older than what is known changes nothing."""
        await self._connection.execute(
            UPSERT,
            [newest.organisation_id for newest in states],
            [newest.database_id for newest in states],
            [newest.type for newest in states],
            [newest.state.entity_id for newest in states],
            [newest.state.number for newest in states],
            [newest.state.action for newest in states],
            [newest.state.amount for newest in states],
            [newest.state.event_at for newest in states],
            [newest.event_id for newest in states],
            [newest.state.deleted for newest in states],
        )

    async def heard(self, sources: Mapping[tuple[int, str], datetime]) -> None:
        """When the last event of each database and type came."""
        await self._connection.execute(
            HEARD, [database_id for database_id, _ in sources], [kind for _, kind in sources], list(sources.values())
        )
