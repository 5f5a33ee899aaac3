"""What happened to attempts besides their answers, appended and never changed; a trigger applies some of it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row

from qrtrack.domain.akselgate.dispatches import EventKind, Outcome
from qrtrack.repositories.base import Repository


class AttemptEventRepository(Repository):
    async def add(
        self,
        attempt: Row[Any],
        kind: EventKind,
        *,
        actor: str,
        outcome: Outcome | None = None,
        note: str | None = None,
        reference: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """`resolved` and `closed` move the attempt with them."""
        await self._run(
            "INSERT INTO t_akselgate_events (attempt_id, manufacturer_org_id, kind, actor, outcome, note,"
            " reference_number, details) VALUES (:id, :organisation, :kind, :actor, :outcome, :note, :reference,"
            " CAST(:details AS jsonb))",
            id=attempt.id,
            organisation=attempt.manufacturer_org_id,
            kind=kind,
            actor=actor,
            outcome=outcome,
            note=note,
            reference=reference,
            details=json.dumps(details or {}),
        )

    async def of_attempt(self, attempt_id: int, *, limit: int) -> Sequence[Row[Any]]:
        """All but callbacks of its rows, oldest first; where there are more than `limit`, the newest."""
        return await self._rows(
            "SELECT * FROM (SELECT id, kind, occurred_at, actor, outcome, note, reference_number, result,"
            " result_reference, details FROM t_akselgate_events WHERE attempt_id = :id AND kind <> 'callback'"
            " ORDER BY id DESC LIMIT :limit) AS newest ORDER BY id",
            id=attempt_id,
            limit=limit,
        )
