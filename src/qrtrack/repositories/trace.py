"""Trace events: appended in the transaction of the change they tell of."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from qrtrack.domain.packing.selections import PackSelection
from qrtrack.repositories.base import Repository

SEQUENCES = (
    "(SELECT range_agg(int4range(low, high, '[]'))"
    " FROM unnest(CAST(:lows AS int[]), CAST(:highs AS int[])) AS run(low, high))"
)


class TraceRepository(Repository):
    async def add(
        self,
        action: str,
        *,
        organisation_id: UUID,
        actor: str,
        batch_id: UUID | None = None,
        case_id: int | None = None,
        job_id: UUID | None = None,
        station: str | None = None,
        reason: str | None = None,
        ranges: Sequence[tuple[int, int]] = (),
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """One action. `ranges` are closed runs of sequence numbers of the batch."""
        await self._run(
            "INSERT INTO trace_events (manufacturer_org_id, action, actor, station, reason, batch_id, master_code_id,"
            " job_id, sequences, unit_count, details) VALUES (:organisation, :action, :actor, :station, :reason,"
            f" CAST(:batch_id AS uuid), CAST(:case_id AS bigint), CAST(:job_id AS uuid), {SEQUENCES}, :units,"
            " CAST(:details AS jsonb))",
            organisation=organisation_id,
            action=action,
            actor=actor,
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

    async def of_code(self, batch_id: UUID, sequence_number: int, *, after: int, limit: int) -> Sequence[Row[Any]]:
        """The events that touched the code, oldest first, from behind the event `after`."""
        return await self._rows(
            f"{SELECT_EVENT} WHERE batch_id = :batch_id AND id > :after AND sequences @> CAST(:sequence AS int)"
            " ORDER BY id LIMIT :limit",
            batch_id=batch_id,
            after=after,
            sequence=sequence_number,
            limit=limit,
        )

    async def of_case(
        self, batch_id: UUID, case_id: int, master_code: str, *, after: int, limit: int
    ) -> Sequence[Row[Any]]:
        """The events that touched the case, alone or among others, oldest first, from behind the event `after`."""
        return await self._rows(
            f"{SELECT_EVENT} WHERE batch_id = :batch_id AND id > :after AND (master_code_id = :case_id"
            " OR jsonb_exists(details -> 'master_codes', :master_code)) ORDER BY id LIMIT :limit",
            batch_id=batch_id,
            after=after,
            case_id=case_id,
            master_code=master_code,
            limit=limit,
        )

    async def packs(self, selection: PackSelection, *, before: int | None, limit: int) -> Sequence[Row[Any]]:
        """The latest cases packed, newest first, with what was taken out of them again."""
        return await self._rows(PACKS, **asdict(selection), before=before, limit=limit)


SELECT_EVENT = (
    "SELECT id, occurred_at, action, actor, station, reason, batch_id, job_id, unit_count, details FROM trace_events"
)

# A unit lies in the case of its pack until the first later event takes it out, so that whatever takes it out later
# undoes that pack. A move takes the box to another case. Such events are few, and have an index of their own.
PACKS = """
SELECT pack.id, pack.occurred_at, pack.action, pack.actor, pack.station, pack.batch_id, pack.unit_count, pack.details,
       taken.undone_at, COALESCE(undone.units, 0) AS undone_count, taken.moved_to
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
