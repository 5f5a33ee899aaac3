"""Events of attempts. Triggers refuse changes, and apply `resolved` and `closed` events to the attempt."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from qrtrack.domain.akselgate.attempts import AttemptOutcome, EventKind
from qrtrack.repositories.akselgate.attempts import FoundAttempt
from qrtrack.repositories.base import Repository

ADD_EVENT = """
INSERT INTO t_akselgate_events
    (attempt_id, manufacturer_org_id, kind, actor, outcome, note, reference_number, details)
VALUES (:attempt_id, :organisation_id, :kind, :actor, :outcome, :note, :reference, CAST(:details AS jsonb))
"""
LIST_EVENTS = """
SELECT *
FROM (
    SELECT id, kind, occurred_at, actor, outcome, note, reference_number, result, result_reference, details
    FROM t_akselgate_events
    WHERE attempt_id = :attempt_id AND kind <> 'callback'
    ORDER BY id DESC
    LIMIT :limit
) AS newest
ORDER BY id
"""


class FoundEvent(NamedTuple):
    id: int
    kind: str
    occurred_at: datetime
    actor: str
    outcome: str | None
    note: str | None
    reference_number: str | None
    result: str | None
    result_reference: str | None
    details: dict[str, Any]


class AttemptEventRepository(Repository):
    async def add(
        self,
        attempt: FoundAttempt,
        kind: EventKind,
        *,
        actor: str,
        outcome: AttemptOutcome | None = None,
        note: str | None = None,
        reference: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        await self._execute(
            ADD_EVENT,
            attempt_id=attempt.id,
            organisation_id=attempt.manufacturer_org_id,
            kind=kind,
            actor=actor,
            outcome=outcome,
            note=note,
            reference=reference,
            details=json.dumps(details or {}),
        )

    async def list(self, attempt_id: int, *, limit: int) -> Sequence[FoundEvent]:
        """Returns events without callbacks, oldest first. If there are more than `limit`, only the newest ones."""
        return await self._fetch_all(FoundEvent, LIST_EVENTS, attempt_id=attempt_id, limit=limit)
