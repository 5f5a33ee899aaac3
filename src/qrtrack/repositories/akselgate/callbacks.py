"""Callbacks of the gateway: each new one is kept as an event, and a readable one sets the state of its row."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from qrtrack.domain.akselgate.attempts import EventKind
from qrtrack.domain.akselgate.callbacks import Callback, CallbackState
from qrtrack.repositories.akselgate.attempts import FoundAttempt
from qrtrack.repositories.base import Repository

FIND_ORGANISATION = "SELECT manufacturer_org_id FROM t_akselgate_transaction_log WHERE id = :attempt_id"
FIND_ROW = """
SELECT row_number, reference_number, callback_state
FROM t_akselgate_transaction_rows
WHERE attempt_id = :attempt_id AND reference_key = :reference_key
"""
SET_STATE = """
UPDATE t_akselgate_transaction_rows
SET callback_state = :state, callback_at = now()
WHERE attempt_id = :attempt_id AND row_number = :row_number
"""
HAS_MISSING = """
SELECT NOT EXISTS (SELECT FROM t_akselgate_transaction_rows WHERE attempt_id = :attempt_id)
    OR EXISTS (SELECT FROM t_akselgate_transaction_rows WHERE attempt_id = :attempt_id AND callback_state = 'missing')
"""
LIST_PAID = """
SELECT reference_number
FROM t_akselgate_transaction_rows
WHERE attempt_id = :attempt_id AND callback_state IN ('ok', 'conflict')
ORDER BY row_number
"""
ADD_EVENT = """
INSERT INTO t_akselgate_events
    (attempt_id, manufacturer_org_id, kind, actor, reference_number, result, result_reference, details)
VALUES (:attempt_id, :organisation_id, :kind, 'gateway', :reference, :result, :result_reference,
        jsonb_build_object('query', CAST(:query AS text)))
ON CONFLICT DO NOTHING
"""
LIST_CALLBACKS = """
SELECT id, occurred_at, reference_number, result, result_reference
FROM t_akselgate_events
WHERE attempt_id = :attempt_id AND kind = 'callback' AND reference_number = ANY(CAST(:references AS text[]))
ORDER BY id
"""


class CalledBackRow(NamedTuple):
    row_number: int
    reference_number: str
    callback_state: str


class FoundCallback(NamedTuple):
    id: int
    occurred_at: datetime
    reference_number: str
    result: str
    result_reference: str


class CallbackRepository(Repository):
    async def find_organisation(self, attempt_id: int) -> UUID | None:
        """Returns the organisation of the attempt. Runs without an organisation, because the gateway's request names
        only the attempt.
        """
        return await self._find_value(UUID, FIND_ORGANISATION, attempt_id=attempt_id)

    async def find_row(self, attempt_id: int, reference: str) -> CalledBackRow | None:
        """Returns the row with this reference, ignoring case."""
        return await self._fetch_optional(
            CalledBackRow, FIND_ROW, attempt_id=attempt_id, reference_key=reference.lower()
        )

    async def set_state(self, attempt_id: int, row_number: int, state: CallbackState) -> None:
        """Sets the row's state; a trigger then unlocks a failed reference, or locks one in conflict again. Raises
        ReferenceLocked if another attempt locks the reference at the same time.
        """
        await self._execute(SET_STATE, attempt_id=attempt_id, row_number=row_number, state=state)

    async def has_missing(self, attempt_id: int) -> bool:
        """Returns whether a callback is missing. Also true for an imported attempt without rows."""
        return await self._fetch_value(bool, HAS_MISSING, attempt_id=attempt_id)

    async def list_paid(self, attempt_id: int) -> Sequence[str]:
        """Returns the references that the gateway has reported as paid."""
        return await self._fetch_values(str, LIST_PAID, attempt_id=attempt_id)

    async def add(self, attempt: FoundAttempt, kind: EventKind, callback: Callback) -> bool:
        """Stores the callback. Returns False if the attempt already has the same one."""
        added = await self._execute(
            ADD_EVENT,
            attempt_id=attempt.id,
            organisation_id=attempt.manufacturer_org_id,
            kind=kind,
            reference=callback.reference,
            result=callback.result,
            result_reference=callback.result_reference,
            query=callback.raw_query,
        )
        return added == 1

    async def list(self, attempt_id: int, references: Sequence[str]) -> Sequence[FoundCallback]:
        return await self._fetch_all(FoundCallback, LIST_CALLBACKS, attempt_id=attempt_id, references=list(references))
