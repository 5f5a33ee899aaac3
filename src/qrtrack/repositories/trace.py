"""Trace events. Each is added in the transaction of the change that it records."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from qrtrack.domain.identity import Caller
from qrtrack.domain.packing.selections import PackSelection
from qrtrack.repositories.base import Repository

ADD = """
INSERT INTO trace_events (manufacturer_org_id, action, actor, station, reason, batch_id, master_code_id, job_id,
                          sequences, unit_count, details)
VALUES (:organisation_id, :action, :actor, :station, :reason,
        CAST(:batch_id AS uuid), CAST(:case_id AS bigint), CAST(:job_id AS uuid),
        (SELECT range_agg(int4range(low, high, '[]'))
         FROM unnest(CAST(:lows AS int[]), CAST(:highs AS int[])) AS run(low, high)),
        :units, CAST(:details AS jsonb))
"""

# One event for each batch that the recall has units of.
ADD_OF_RECALL = """
INSERT INTO trace_events (manufacturer_org_id, action, actor, reason, batch_id, master_code_id, sequences, unit_count,
                          details)
SELECT recall.manufacturer_org_id, :action, :actor, :reason, units.batch_id, recall.master_code_id, units.sequences,
       units.unit_count, jsonb_build_object('recall_id', recall.id)
FROM recalls AS recall
CROSS JOIN LATERAL (
    SELECT id AS batch_id, int4multirange(int4range(1, quantity, '[]')) AS sequences, quantity AS unit_count
    FROM qr_batches
    WHERE id = recall.batch_id AND recall.scope = 'batch'
    UNION ALL
    SELECT batch_id, range_agg(int4range(sequence_number, sequence_number, '[]')), count(*)::int
    FROM recalled_codes
    WHERE recall_id = recall.id
    GROUP BY batch_id) AS units
WHERE recall.id = :recall_id
ORDER BY units.batch_id
"""

SELECT_EVENTS = """
SELECT id, occurred_at, action, actor, station, reason, batch_id, job_id, unit_count, details
FROM trace_events
"""
LIST_OF_CODE = f"""
{SELECT_EVENTS}
WHERE batch_id = :batch_id AND id > :after AND sequences @> CAST(:sequence_number AS int)
ORDER BY id
LIMIT :limit
"""
LIST_OF_CASE = f"""
{SELECT_EVENTS}
WHERE batch_id = :batch_id AND id > :after
  AND (master_code_id = :case_id OR jsonb_exists(details -> 'master_codes', :master_code))
ORDER BY id
LIMIT :limit
"""

# A unit stays in the case of its pack until a later event takes it out, and the first such event undoes that pack. A
# move takes all units to another case. Such events are few, and have their own index.
LIST_PACKS = """
SELECT pack.id AS event_id, pack.occurred_at, pack.actor, pack.station, pack.batch_id,
       pack.details ->> 'master_code' AS master_code, (pack.details ->> 'case_number')::int AS case_number,
       pack.unit_count AS linked_count, pack.details ->> 'completeness' AS completeness,
       pack.details ->> 'first_code' AS first_code, pack.details ->> 'last_code' AS last_code,
       pack.action = 'case.packed' AS from_queue,
       taken.undone_at, COALESCE(undone.units, 0)::int AS undone_count, taken.moved_to
FROM (SELECT * FROM trace_events
      WHERE action IN ('case.packed', 'case.linked')
      AND (CAST(:batch_id AS uuid) IS NULL OR batch_id = :batch_id)
      AND (CAST(:station AS text) IS NULL OR station = :station)
      AND (CAST(:actor AS text) IS NULL OR actor = :actor)
      AND (CAST(:before AS bigint) IS NULL OR id < :before)
      ORDER BY id DESC LIMIT :limit) AS pack
CROSS JOIN LATERAL (
    SELECT min(event.occurred_at) FILTER (WHERE event.action <> 'case.moved') AS undone_at,
           range_agg(event.sequences) FILTER (WHERE event.action <> 'case.moved') AS sequences,
           (array_agg(event.details ->> 'master_code' ORDER BY event.id DESC)
            FILTER (WHERE event.action = 'case.moved'))[1] AS moved_to
    FROM trace_events AS event
    WHERE event.batch_id = pack.batch_id AND event.id > pack.id
    AND event.action IN ('codes.unlinked', 'codes.voided', 'case.moved')
    AND event.sequences && pack.sequences) AS taken
CROSS JOIN LATERAL (
    SELECT sum(upper(run) - lower(run)) AS units FROM unnest(taken.sequences * pack.sequences) AS run) AS undone
ORDER BY pack.id DESC
"""


class TraceEvent(NamedTuple):
    id: int
    occurred_at: datetime
    action: str
    actor: str
    station: str | None
    reason: str | None
    batch_id: UUID | None
    job_id: UUID | None
    unit_count: int
    details: Mapping[str, Any]


class Pack(NamedTuple):
    """One case as it was packed or added to, and how much of that was undone later."""

    event_id: int
    occurred_at: datetime
    actor: str
    station: str | None
    batch_id: UUID
    master_code: str
    case_number: int
    linked_count: int
    completeness: str | None
    first_code: str | None
    last_code: str | None
    from_queue: bool
    undone_at: datetime | None
    undone_count: int
    moved_to: str | None


class TraceRepository(Repository):
    async def add(
        self,
        action: str,
        *,
        caller: Caller,
        batch_id: UUID | None = None,
        case_id: int | None = None,
        job_id: UUID | None = None,
        station: str | None = None,
        reason: str | None = None,
        ranges: Sequence[tuple[int, int]] = (),
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Records an action of the caller. `ranges`: closed ranges of the batch's sequence numbers."""
        await self._execute(
            ADD,
            organisation_id=caller.organisation_id,
            action=action,
            actor=caller.user_id,
            station=station,
            reason=reason,
            batch_id=batch_id,
            case_id=case_id,
            job_id=job_id,
            lows=[low for low, _ in ranges],
            highs=[high for _, high in ranges],
            units=sum(high - low + 1 for low, high in ranges),
            details=json.dumps(details or {}, default=str),
        )

    async def add_of_recall(self, action: str, *, caller: Caller, recall_id: UUID, reason: str) -> None:
        """Records what the caller did with all units of a recall."""
        await self._execute(ADD_OF_RECALL, action=action, actor=caller.user_id, recall_id=recall_id, reason=reason)

    async def list_of_code(
        self, batch_id: UUID, sequence_number: int, *, after: int, limit: int
    ) -> Sequence[TraceEvent]:
        """Returns events of the code, oldest first, after the event `after`."""
        return await self._fetch_all(
            TraceEvent, LIST_OF_CODE, batch_id=batch_id, sequence_number=sequence_number, after=after, limit=limit
        )

    async def list_of_case(
        self, batch_id: UUID, case_id: int, master_code: str, *, after: int, limit: int
    ) -> Sequence[TraceEvent]:
        """Returns events of the case, also those that concern other cases too, oldest first, after the event
        `after`.
        """
        return await self._fetch_all(
            TraceEvent,
            LIST_OF_CASE,
            batch_id=batch_id,
            case_id=case_id,
            master_code=master_code,
            after=after,
            limit=limit,
        )

    async def list_packs(self, selection: PackSelection, *, before: int | None, limit: int) -> Sequence[Pack]:
        """Lists packs, newest first."""
        return await self._fetch_all(Pack, LIST_PACKS, **asdict(selection), before=before, limit=limit)
