"""What processing reads and writes. Groups are a hot path on the driver's connection. Single events are retries."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from qrtrack.domain.accurate.processing import ClaimedEvent, EventStatus, NewestState, ReadEvent
from qrtrack.domain.claims import Claim, Group
from qrtrack.repositories.base import DriverRepository, Repository
from qrtrack.repositories.groups import GroupRepository
from qrtrack.repositories.queues import WEBHOOK_EVENTS, WEBHOOK_RETRIES

# When the loaded payloads of a group have reached this many bytes, its other events are left for the next group.
LOADED_BYTES = 8 * 1024 * 1024

LOAD_PAYLOADS: Final = """
SELECT id, payload
FROM (SELECT id, payload, sum(octet_length(payload)) OVER (ORDER BY id) - octet_length(payload) AS bytes_before
      FROM webhook_queue
      WHERE id = ANY(CAST(:ids AS bigint[]))) AS sized
WHERE bytes_before < CAST(:bytes AS bigint)
"""
GET_CLAIMED: Final = f"""
SELECT {WEBHOOK_EVENTS.columns}
FROM webhook_queue AS job
WHERE job.id = :id
"""
# Events that arrived while forwarding was off have no forward_status yet. Others keep theirs, since they may have been
# sent.
FORWARDED: Final = "COALESCE(forward_status, 'pending')"
FINISH_RETRIED: Final = f"""
UPDATE webhook_queue
SET {WEBHOOK_RETRIES.ended(":status")}, error = NULL, note = COALESCE(:note, note),
    forward_status = CASE WHEN :forward THEN {FORWARDED} ELSE forward_status END
WHERE {WEBHOOK_RETRIES.fence}
"""
FINISH_ONE: Final = "note = COALESCE(ended.remark, note)"
FINISH_AND_FORWARD: Final = f"{FINISH_ONE}, forward_status = {FORWARDED}"
# Sorted, so that two groups with the same documents cannot deadlock. A state of equal age is written again: after a
# replay, an improved handler may read the same event differently.
STORE_STATES: Final = """
INSERT INTO accurate_documents AS document (manufacturer_org_id, database_id, type, entity_id, number, action, amount,
    event_at, event_id, deleted)
SELECT *
FROM unnest(CAST(:organisations AS uuid[]), CAST(:databases AS bigint[]), CAST(:types AS text[]),
            CAST(:entities AS text[]), CAST(:numbers AS text[]), CAST(:actions AS text[]),
            CAST(:amounts AS numeric[]), CAST(:times AS timestamptz[]), CAST(:events AS bigint[]),
            CAST(:deletions AS boolean[]))
     AS state (organisation, database_id, type, entity_id, number, action, amount, event_at, event_id, deleted)
ORDER BY organisation, database_id, type, entity_id
ON CONFLICT (manufacturer_org_id, database_id, type, entity_id) DO UPDATE
SET number = EXCLUDED.number, action = EXCLUDED.action, amount = EXCLUDED.amount, event_at = EXCLUDED.event_at,
    event_id = EXCLUDED.event_id, deleted = EXCLUDED.deleted, updated_at = now()
WHERE (document.event_at, document.event_id) <= (EXCLUDED.event_at, EXCLUDED.event_id)
"""
# A row that is correct to the second is not written again: concurrent groups would wait for its lock.
STORE_LAST_HEARD: Final = """
INSERT INTO accurate_sources AS source (database_id, type, last_event_at)
SELECT heard.database_id, heard.type, heard.last_event_at
FROM unnest(CAST(:databases AS bigint[]), CAST(:types AS text[]), CAST(:times AS timestamptz[]))
     AS heard (database_id, type, last_event_at)
WHERE NOT EXISTS (SELECT FROM accurate_sources AS known
                  WHERE known.database_id = heard.database_id AND known.type = heard.type
                  AND known.last_event_at >= heard.last_event_at - interval '1 second')
ORDER BY heard.database_id, heard.type
ON CONFLICT (database_id, type) DO UPDATE
SET last_event_at = GREATEST(source.last_event_at, EXCLUDED.last_event_at)
"""


class Payload(NamedTuple):
    id: int
    payload: str


class WebhookProcessingRepository(DriverRepository):
    async def payloads(self, ids: Sequence[int]) -> dict[int, str]:
        """Returns payloads by event id, in the order of ids, and no more once they have reached LOADED_BYTES."""
        rows = await self._fetch_all(Payload, LOAD_PAYLOADS, ids=ids, bytes=LOADED_BYTES)
        return {row.id: row.payload for row in rows}

    async def finish_group(self, group: Group[ClaimedEvent], read: Sequence[ReadEvent], *, forward: bool) -> set[int]:
        """Ends these events and releases the others of the group. Returns the ids that the group still held.

        Raises LeaseLost.
        """
        return await GroupRepository(self._connection, WEBHOOK_EVENTS).finish(
            group,
            [one.event.id for one in read],
            [one.status for one in read],
            [one.note for one in read],
            FINISH_AND_FORWARD if forward else FINISH_ONE,
        )

    async def store_states(self, states: Sequence[NewestState]) -> None:
        """Stores the states, at most one for each document. A document with a newer state does not change."""
        await self._execute(
            STORE_STATES,
            organisations=[event.manufacturer_org_id for event, _ in states],
            databases=[event.database_id for event, _ in states],
            types=[event.type for event, _ in states],
            entities=[state.entity_id for _, state in states],
            numbers=[state.number for _, state in states],
            actions=[state.action for _, state in states],
            amounts=[state.amount for _, state in states],
            times=[state.event_at for _, state in states],
            events=[event.id for event, _ in states],
            deletions=[state.deleted for _, state in states],
        )

    async def store_last_heard(self, sources: Mapping[tuple[int, str], datetime]) -> None:
        """Stores when events last arrived, by database and type. A later stored time stays."""
        await self._execute(
            STORE_LAST_HEARD,
            databases=[database_id for database_id, _ in sources],
            types=[kind for _, kind in sources],
            times=list(sources.values()),
        )


class WebhookRetryRepository(Repository):
    async def get(self, event_id: int) -> ClaimedEvent:
        return await self._fetch_one(ClaimedEvent, GET_CLAIMED, id=event_id)

    async def finish(self, claim: Claim, *, status: EventStatus, note: str | None, forward: bool) -> None:
        """Raises LeaseLost."""
        await self._execute_fenced(claim, FINISH_RETRIED, status=status, note=note, forward=forward)
