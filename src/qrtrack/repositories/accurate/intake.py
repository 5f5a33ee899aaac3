"""Taking webhook events in: a whole request in one statement, on the driver's own connection, since it is hot."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from qrtrack.domain.accurate.intake import Element, content_hash
from qrtrack.domain.accurate.processing import EventStatus
from qrtrack.repositories.base import DURABLE, Connection

# Ids are drawn before the rows are sorted, so that they follow the order of the request. Rows are inserted in the order
# of their uuids: two requests with the same uuids would otherwise wait for each other in a circle. Each statement is a
# transaction of its own, and says in itself that its commit waits for the disk.
INSERT = f"""
INSERT INTO webhook_queue (id, type, database_id, uuid, payload, content_hash, manufacturer_org_id, status, error, note,
                           finished_at, forward_status)
OVERRIDING SYSTEM VALUE
SELECT * FROM (
    SELECT nextval('webhook_queue_id_seq') AS id, type, database_id, uuid, payload, content_hash, organisation, status,
           error, note, CASE WHEN status = 'invalid' THEN now() END,
           CASE WHEN $10 AND status = 'pending' THEN 'pending' END
    FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::bytea[], $6::uuid[], $7::text[], $8::text[],
                $9::text[])
         AS element (type, database_id, uuid, payload, content_hash, organisation, status, error, note)) AS arrived
WHERE ({DURABLE}) IS DISTINCT FROM ''
ORDER BY uuid, id
ON CONFLICT (uuid) WHERE uuid IS NOT NULL DO NOTHING
RETURNING id, uuid
"""
EXISTING = """
SELECT id, uuid, content_hash, CASE WHEN content_hash = '' THEN payload END AS payload
FROM webhook_queue WHERE uuid = ANY($1::text[])
"""
KEEP_CONFLICTS = f"""
INSERT INTO webhook_conflicts (queue_id, database_id, manufacturer_org_id, content_hash, payload, times)
SELECT queue_id, database_id, organisation, content_hash, min(payload), count(*)
FROM unnest($1::bigint[], $2::bigint[], $3::uuid[], $4::bytea[], $5::text[])
     AS conflict (queue_id, database_id, organisation, content_hash, payload)
WHERE ({DURABLE}) IS DISTINCT FROM ''
GROUP BY queue_id, database_id, organisation, content_hash ORDER BY queue_id, content_hash
ON CONFLICT (queue_id, content_hash) DO UPDATE
SET times = webhook_conflicts.times + EXCLUDED.times, last_at = EXCLUDED.last_at
"""


@dataclass(frozen=True, slots=True)
class Arrival:
    """An element on its way into the queue, and what becomes of it there."""

    element: Element
    organisation_id: UUID | None
    status: EventStatus


@dataclass(frozen=True, slots=True)
class KnownEvent:
    """The event that has a uuid already."""

    id: int
    content_hash: bytes


class WebhookIntakeRepository:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def insert(self, arrivals: Sequence[Arrival], *, pass_on: bool) -> list[int | None]:
        """The new ids in the order of the request; None where the unique index found the uuid taken. What is to be
        passed on keeps its place in that from now on.

        One statement, and a transaction of its own: all of the request is kept when it returns, or nothing.
        """
        elements = [arrival.element for arrival in arrivals]
        rows = await self._connection.fetch(
            INSERT,
            [element.type for element in elements],
            [element.database_id for element in elements],
            [element.uuid for element in elements],
            [element.payload for element in elements],
            [element.content_hash for element in elements],
            [arrival.organisation_id for arrival in arrivals],
            [arrival.status for arrival in arrivals],
            [element.error for element in elements],
            [element.note for element in elements],
            pass_on,
        )
        named = {uuid: new for new, uuid in rows if uuid is not None}
        unnamed = iter(sorted(new for new, uuid in rows if uuid is None))
        # Of twins in one request the first has the lower id, and was inserted.
        return [next(unnamed) if element.uuid is None else named.pop(element.uuid, None) for element in elements]

    async def known(self, uuids: Iterable[str]) -> dict[str, KnownEvent]:
        """A statement after the insert: it sees what the winner of the uuid has committed."""
        rows = await self._connection.fetch(EXISTING, list(uuids))
        return {row["uuid"]: KnownEvent(row["id"], row["content_hash"] or content_hash(row["payload"])) for row in rows}

    async def keep_conflicts(self, conflicts: Sequence[tuple[KnownEvent, Arrival]]) -> None:
        """What came under a uuid that something else has."""
        await self._connection.execute(
            KEEP_CONFLICTS,
            [known.id for known, _ in conflicts],
            [arrival.element.database_id for _, arrival in conflicts],
            [arrival.organisation_id for _, arrival in conflicts],
            [arrival.element.content_hash for _, arrival in conflicts],
            [arrival.element.payload for _, arrival in conflicts],
        )

    async def wake_workers(self, channel: str, kind: str) -> None:
        """A hint that the rows are there; a worker that does not hear it polls."""
        await self._connection.execute("SELECT pg_notify($1, $2)", channel, kind)
