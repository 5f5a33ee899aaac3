"""Writes an attempt before it is sent. Constraints refuse a second open attempt and a locked reference."""

from collections.abc import Sequence
from decimal import Decimal
from hashlib import sha256
from typing import NamedTuple
from uuid import UUID

from qrtrack.domain.akselgate.dispatches import Transaction
from qrtrack.repositories.base import Repository

NEXT_ID = "SELECT nextval('t_akselgate_transaction_log_id_seq')"
ADD_ATTEMPT = """
INSERT INTO t_akselgate_transaction_log
    (id, manufacturer_org_id, kd_settle, transaction_type, request_id, attempt_number, total_transaksi,
     request_payload, payload_sha256, control_sum, outcome, sent_by, stale_at, idempotency_key)
OVERRIDING SYSTEM VALUE
SELECT CAST(:id AS bigint), CAST(:organisation_id AS uuid), CAST(:kd_settle AS varchar),
       CAST(:transaction_type AS text), CAST(:request_id AS varchar), COALESCE(max(attempt_number), 0) + 1,
       CAST(:total AS int), CAST(:payload AS text), CAST(:payload_sha256 AS text), CAST(:control_sum AS numeric),
       'sending', CAST(:sent_by AS text), now() + make_interval(secs => :stale_after), CAST(:idempotency_key AS text)
FROM t_akselgate_transaction_log
WHERE settlement_key = CAST(:settlement_key AS text) AND transaction_type = CAST(:transaction_type AS text)
"""
# Ordered by reference: two settlements with common references would deadlock if they inserted them in different orders.
ADD_ROWS = """
INSERT INTO t_akselgate_transaction_rows
    (attempt_id, manufacturer_org_id, row_number, reference_number, debit_account, credit_account, amount, description)
SELECT :attempt_id, :organisation_id, given.*
FROM unnest(CAST(:numbers AS int[]), CAST(:references AS text[]), CAST(:debits AS text[]), CAST(:credits AS text[]),
            CAST(:amounts AS numeric[]), CAST(:descriptions AS text[]))
    AS given (number, reference, debit, credit, amount, description)
ORDER BY given.reference
"""
FIND_LOCKED = """
SELECT line.reference_key, line.attempt_id, log.attempt_number, log.kd_settle
FROM t_akselgate_transaction_rows AS line
JOIN t_akselgate_transaction_log AS log ON log.id = line.attempt_id
WHERE line.locked AND line.reference_key = ANY(CAST(:references AS text[]))
"""
FIND_SENT_BEFORE = """
SELECT line.reference_number, earlier.attempt_id
FROM t_akselgate_transaction_rows AS line
JOIN t_akselgate_transaction_rows AS earlier
  ON earlier.reference_key = line.reference_key AND earlier.attempt_id <> line.attempt_id
JOIN t_akselgate_transaction_log AS log ON log.id = earlier.attempt_id
WHERE line.attempt_id = :attempt_id AND earlier.callback_state <> 'failed'
  AND (log.imported OR log.outcome NOT IN ('rejected', 'not_sent') OR EXISTS (
      SELECT FROM t_akselgate_events AS event WHERE event.attempt_id = log.id AND event.kind = 'resolved'))
ORDER BY line.row_number, earlier.attempt_id
"""


class LockedReference(NamedTuple):
    """A locked reference, in lower case, and the attempt that holds it."""

    reference_key: str
    attempt_id: int
    attempt_number: int
    kd_settle: str


class SentBefore(NamedTuple):
    """A reference, and an earlier attempt that sent it."""

    reference_number: str
    attempt_id: int


class DispatchRepository(Repository):
    async def next_id(self) -> int:
        """Returns an id that no other attempt ever gets. The payload contains it as `requestId`."""
        return await self._fetch_value(int, NEXT_ID)

    async def add(
        self,
        attempt_id: int,
        *,
        organisation_id: UUID,
        kd_settle: str,
        transaction_type: str,
        payload: str,
        control_sum: Decimal,
        total: int,
        sent_by: str,
        stale_after: float,
        idempotency_key: str | None,
    ) -> None:
        """Adds the attempt as `sending`. Raises DispatchInProgress if another attempt of the settlement is open, or a
        concurrent request adds one.
        """
        await self._execute(
            ADD_ATTEMPT,
            id=attempt_id,
            request_id=str(attempt_id),
            organisation_id=organisation_id,
            kd_settle=kd_settle,
            settlement_key=kd_settle.lower(),
            transaction_type=transaction_type,
            total=total,
            payload=payload,
            payload_sha256=sha256(payload.encode()).hexdigest(),
            control_sum=control_sum,
            sent_by=sent_by,
            stale_after=stale_after,
            idempotency_key=idempotency_key,
        )

    async def add_rows(self, attempt_id: int, organisation_id: UUID, rows: Sequence[Transaction]) -> None:
        """Adds the rows and locks their references. Raises ReferenceLocked."""
        await self._execute(
            ADD_ROWS,
            attempt_id=attempt_id,
            organisation_id=organisation_id,
            numbers=[row.row_number for row in rows],
            references=[row.reference for row in rows],
            debits=[row.debit_account for row in rows],
            credits=[row.credit_account for row in rows],
            amounts=[row.amount for row in rows],
            descriptions=[row.description for row in rows],
        )

    async def find_locked(self, references: Sequence[str]) -> Sequence[LockedReference]:
        """Returns which of these references are locked, ignoring case."""
        keys = [reference.lower() for reference in references]
        return await self._fetch_all(LockedReference, FIND_LOCKED, references=keys)

    async def find_sent_before(self, attempt_id: int) -> Sequence[SentBefore]:
        """Returns references of the attempt that an earlier attempt sent and that may be paid.

        A reference counts as unpaid only if it was never sent, if the gateway refused its attempt, or if a callback
        reported it as failed. A refusal that a person entered or that an older system recorded is no proof.
        """
        return await self._fetch_all(SentBefore, FIND_SENT_BEFORE, attempt_id=attempt_id)
