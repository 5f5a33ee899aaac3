"""What the gateway reports of the rows of an attempt, each report kept as an event."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from qrtrack.domain.akselgate.callbacks import Callback
from qrtrack.domain.akselgate.dispatches import EventKind
from qrtrack.repositories.base import Repository


class CallbackRepository(Repository):
    async def organisation_of(self, attempt_id: int) -> UUID | None:
        """Asked without a tenant: whoever calls back is none."""
        organisation: UUID | None = await self._scalar(
            "SELECT manufacturer_org_id FROM t_akselgate_transaction_log WHERE id = :id", id=attempt_id
        )
        return organisation

    async def row(self, attempt_id: int, reference: str) -> Row[Any] | None:
        """The row of this reference, whatever its case."""
        return await self._row_or_none(
            "SELECT row_number, reference_number, callback_state FROM t_akselgate_transaction_rows"
            " WHERE attempt_id = :id AND reference_key = :reference",
            id=attempt_id,
            reference=reference.lower(),
        )

    async def record(self, attempt_id: int, row_number: int, state: str) -> None:
        """A row's callback; what follows for the lock of its reference the database knows. Raises ReferenceLocked."""
        await self._run(
            "UPDATE t_akselgate_transaction_rows SET callback_state = :state, callback_at = now()"
            " WHERE attempt_id = :id AND row_number = :row_number",
            id=attempt_id,
            row_number=row_number,
            state=state,
        )

    async def lacks_some(self, attempt_id: int) -> bool:
        """Of an attempt whose rows are not known (imported), too."""
        return bool(
            await self._scalar(
                "SELECT NOT EXISTS (SELECT FROM t_akselgate_transaction_rows WHERE attempt_id = :id)"
                " OR EXISTS (SELECT FROM t_akselgate_transaction_rows"
                "  WHERE attempt_id = :id AND callback_state = 'missing')",
                id=attempt_id,
            )
        )

    async def paid(self, attempt_id: int) -> Sequence[str]:
        """References that the gateway has reported as paid."""
        rows = await self._rows(
            "SELECT reference_number FROM t_akselgate_transaction_rows"
            " WHERE attempt_id = :id AND callback_state IN ('ok', 'conflict') ORDER BY row_number",
            id=attempt_id,
        )
        return [row.reference_number for row in rows]

    async def add(self, attempt: Row[Any], kind: EventKind, callback: Callback) -> bool:
        """False where the same came before."""
        added = await self._run(
            "INSERT INTO t_akselgate_events (attempt_id, manufacturer_org_id, kind, actor, reference_number, result,"
            " result_reference, details) VALUES (:id, :organisation, :kind, 'gateway', :reference, :result,"
            " :result_reference, jsonb_build_object('query', CAST(:query AS text))) ON CONFLICT DO NOTHING",
            id=attempt.id,
            organisation=attempt.manufacturer_org_id,
            kind=kind,
            reference=callback.reference,
            result=callback.result,
            result_reference=callback.result_reference,
            query=callback.raw_query,
        )
        return added == 1

    async def of_rows(self, attempt_id: int, references: Sequence[str]) -> Sequence[Row[Any]]:
        return await self._rows(
            "SELECT id, occurred_at, reference_number, result, result_reference FROM t_akselgate_events"
            " WHERE attempt_id = :id AND kind = 'callback' AND reference_number = ANY(CAST(:references AS text[]))"
            " ORDER BY id",
            id=attempt_id,
            references=list(references),
        )
