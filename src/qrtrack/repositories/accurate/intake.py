"""Storing webhook events. A hot path: one statement stores a whole request."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple
from uuid import UUID

from qrtrack.domain.accurate.intake import Element, content_hash
from qrtrack.domain.accurate.processing import EventStatus
from qrtrack.repositories.base import DURABLE, DriverRepository

# Ids are drawn before the sort, so that they follow the order of the request. Rows are inserted in the order of their
# uuids: in any other order, two requests with the same uuids could deadlock. The statement is its own transaction, so
# it sets by itself that its commit waits for the disk.
INSERT: Final = f"""
INSERT INTO webhook_queue (id, type, database_id, uuid, payload, content_hash, manufacturer_org_id, status, error, note,
                           finished_at, forward_status)
OVERRIDING SYSTEM VALUE
SELECT *
FROM (SELECT nextval('webhook_queue_id_seq') AS id, type, database_id, uuid, payload, content_hash, organisation,
             status, error, note, CASE WHEN status = 'invalid' THEN now() END,
             CASE WHEN CAST(:forward AS boolean) AND status = 'pending' THEN 'pending' END
      FROM unnest(CAST(:types AS text[]), CAST(:databases AS bigint[]), CAST(:uuids AS text[]),
                  CAST(:payloads AS text[]), CAST(:hashes AS bytea[]), CAST(:organisations AS uuid[]),
                  CAST(:statuses AS text[]), CAST(:errors AS text[]), CAST(:notes AS text[]))
           AS element (type, database_id, uuid, payload, content_hash, organisation, status, error, note)) AS arrived
WHERE ({DURABLE}) IS DISTINCT FROM ''
ORDER BY uuid, id
ON CONFLICT (uuid) WHERE uuid IS NOT NULL DO NOTHING
RETURNING id, uuid
"""
# Rows of the older service have no hash.
FIND_KNOWN: Final = """
SELECT id, uuid, content_hash, CASE WHEN content_hash = '' THEN payload END AS payload
FROM webhook_queue
WHERE uuid = ANY(CAST(:uuids AS text[]))
"""
ADD_CONFLICTS: Final = f"""
INSERT INTO webhook_conflicts (queue_id, database_id, manufacturer_org_id, content_hash, payload, times)
SELECT queue_id, database_id, organisation, content_hash, min(payload), count(*)
FROM unnest(CAST(:events AS bigint[]), CAST(:databases AS bigint[]), CAST(:organisations AS uuid[]),
            CAST(:hashes AS bytea[]), CAST(:payloads AS text[]))
     AS conflict (queue_id, database_id, organisation, content_hash, payload)
WHERE ({DURABLE}) IS DISTINCT FROM ''
GROUP BY queue_id, database_id, organisation, content_hash
ORDER BY queue_id, content_hash
ON CONFLICT (queue_id, content_hash) DO UPDATE
SET times = webhook_conflicts.times + EXCLUDED.times, last_at = EXCLUDED.last_at
"""


@dataclass(frozen=True, slots=True)
class Arrival:
    """An element to store, with its owner and its first status."""

    element: Element
    organisation_id: UUID | None
    status: EventStatus


class Inserted(NamedTuple):
    id: int
    uuid: str | None


class KnownEvent(NamedTuple):
    """The event that was stored first under its uuid. `payload` is needed only if the hash is missing."""

    id: int
    uuid: str
    content_hash: bytes
    payload: str | None


class WebhookIntakeRepository(DriverRepository):
    async def insert(self, arrivals: Sequence[Arrival], *, forward: bool) -> list[int | None]:
        """Returns the new ids in the order of the request, and None for each element whose uuid is already stored.

        One statement in its own transaction stores the whole request or nothing. With `forward` the events also get
        their place in the order of forwarding.
        """
        elements = [arrival.element for arrival in arrivals]
        rows = await self._fetch_all(
            Inserted,
            INSERT,
            types=[element.type for element in elements],
            databases=[element.database_id for element in elements],
            uuids=[element.uuid for element in elements],
            payloads=[element.payload for element in elements],
            hashes=[element.content_hash for element in elements],
            organisations=[arrival.organisation_id for arrival in arrivals],
            statuses=[arrival.status for arrival in arrivals],
            errors=[element.error for element in elements],
            notes=[element.note for element in elements],
            forward=forward,
        )
        by_uuid = {row.uuid: row.id for row in rows if row.uuid is not None}
        without_uuid = iter(sorted(row.id for row in rows if row.uuid is None))
        # Of two elements with one uuid, the first was inserted, and `pop` gives it the id. The second gets None.
        return [next(without_uuid) if element.uuid is None else by_uuid.pop(element.uuid, None) for element in elements]

    async def known(self, uuids: Iterable[str]) -> dict[str, KnownEvent]:
        """Returns the known events by uuid. A separate statement after the insert, so that it sees the row that won the
        race for the uuid.
        """
        events = await self._fetch_all(KnownEvent, FIND_KNOWN, uuids=list(uuids))
        return {
            event.uuid: event._replace(content_hash=content_hash(event.payload)) if event.payload else event
            for event in events
        }

    async def keep_conflicts(self, conflicts: Sequence[tuple[KnownEvent, Arrival]]) -> None:
        """Stores each different content that arrived under a known uuid once, and counts how often it arrived."""
        arrivals = [arrival for _, arrival in conflicts]
        await self._execute(
            ADD_CONFLICTS,
            events=[known.id for known, _ in conflicts],
            databases=[arrival.element.database_id for arrival in arrivals],
            organisations=[arrival.organisation_id for arrival in arrivals],
            hashes=[arrival.element.content_hash for arrival in arrivals],
            payloads=[arrival.element.payload for arrival in arrivals],
        )
