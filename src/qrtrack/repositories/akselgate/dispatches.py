"""Attempts at the bank gateway with their rows. What may change, and who holds what, triggers decide."""

from collections.abc import Sequence
from decimal import Decimal
from hashlib import sha256
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from qrtrack.domain.akselgate.dispatches import Transaction
from qrtrack.domain.akselgate.gateway_answers import Verdict
from qrtrack.domain.errors import NotFound
from qrtrack.repositories.base import Repository

COLUMNS = (
    "log.id, log.manufacturer_org_id, log.transaction_type, log.kd_settle, log.request_id, log.attempt_number,"
    " log.total_transaksi, log.control_sum, log.payload_sha256, log.outcome, log.status_code_res, log.response_code,"
    " log.response_message, log.is_success, log.is_latest, log.sent_by, log.sent_at, log.updated_at,"
    " EXISTS (SELECT FROM t_akselgate_open_attempts AS held WHERE held.attempt_id = log.id) AS is_open"
)
SELECT = f"SELECT {COLUMNS} FROM t_akselgate_transaction_log AS log"

SENT_BEFORE = """
SELECT line.reference_number, earlier.attempt_id
FROM t_akselgate_transaction_rows AS line
JOIN t_akselgate_transaction_rows AS earlier
  ON earlier.reference_key = line.reference_key AND earlier.attempt_id <> line.attempt_id
JOIN t_akselgate_transaction_log AS log ON log.id = earlier.attempt_id
WHERE line.attempt_id = :id AND earlier.callback_state <> 'failed'
  AND (log.imported OR log.outcome NOT IN ('rejected', 'not_sent') OR EXISTS (
      SELECT FROM t_akselgate_events AS event WHERE event.attempt_id = log.id AND event.kind = 'resolved'))
ORDER BY line.row_number, earlier.attempt_id
"""


class DispatchRepository(Repository):
    async def next_id(self) -> int:
        """An id that no other attempt has or will have; the bytes to be sent contain it."""
        return int(await self._scalar("SELECT nextval('t_akselgate_transaction_log_id_seq')"))

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
    ) -> Row[Any]:
        """The attempt, `sending`; raises SettlementBusy where another is open, or was written at the same moment."""
        await self._run(
            "INSERT INTO t_akselgate_transaction_log (id, manufacturer_org_id, kd_settle, transaction_type, request_id,"
            " attempt_number, total_transaksi, request_payload, payload_sha256, control_sum, outcome, sent_by,"
            " stale_at, idempotency_key) OVERRIDING SYSTEM VALUE"
            " SELECT CAST(:id AS bigint), CAST(:organisation AS uuid), CAST(:kd_settle AS varchar),"
            " CAST(:type AS text), CAST(:request_id AS varchar), COALESCE(max(attempt_number), 0) + 1,"
            " CAST(:total AS int), CAST(:payload AS text), CAST(:sha256 AS text), CAST(:control_sum AS numeric),"
            " 'sending', CAST(:sent_by AS text), now() + make_interval(secs => :stale_after), CAST(:key AS text)"
            " FROM t_akselgate_transaction_log"
            " WHERE settlement_key = CAST(:settlement AS text) AND transaction_type = CAST(:type AS text)",
            id=attempt_id,
            request_id=str(attempt_id),
            organisation=organisation_id,
            kd_settle=kd_settle,
            settlement=kd_settle.lower(),
            type=transaction_type,
            total=total,
            payload=payload,
            sha256=sha256(payload.encode()).hexdigest(),
            control_sum=control_sum,
            sent_by=sent_by,
            stale_after=stale_after,
            key=idempotency_key,
        )
        return await self.get(attempt_id)

    async def add_rows(self, attempt_id: int, organisation_id: UUID, rows: Sequence[Transaction]) -> None:
        """All in one statement, in the order of their references: two batches that share some would else deadlock.

        Raises ReferenceLocked.
        """
        await self._run(
            "INSERT INTO t_akselgate_transaction_rows (attempt_id, manufacturer_org_id, row_number, reference_number,"
            " debit_account, credit_account, amount, description)"
            " SELECT :id, :organisation, given.* FROM unnest(CAST(:numbers AS int[]), CAST(:refs AS text[]),"
            " CAST(:debits AS text[]), CAST(:credits AS text[]), CAST(:amounts AS numeric[]), CAST(:texts AS text[]))"
            " AS given(number, ref, debit, credit, amount, description) ORDER BY given.ref",
            id=attempt_id,
            organisation=organisation_id,
            numbers=[row.row_number for row in rows],
            refs=[row.reference for row in rows],
            debits=[row.debit_account for row in rows],
            credits=[row.credit_account for row in rows],
            amounts=[row.amount for row in rows],
            texts=[row.description for row in rows],
        )

    async def answer(self, attempt_id: int, verdict: Verdict) -> bool:
        """The response fields, once. False where the attempt was not `sending` any more."""
        changed = await self._run(
            "UPDATE t_akselgate_transaction_log SET outcome = CAST(:outcome AS text), status_code_res = :status,"
            " response_code = :code, response_message = :message, response_payload = :payload,"
            " is_success = CASE CAST(:outcome AS text) WHEN 'accepted' THEN 1 WHEN 'unknown' THEN NULL ELSE 0 END"
            " WHERE id = :id AND outcome = 'sending'",
            id=attempt_id,
            outcome=verdict.outcome,
            status=verdict.status_code,
            code=verdict.response_code,
            message=verdict.response_message,
            payload=verdict.response_payload,
        )
        return changed == 1

    async def sweep(self) -> Sequence[Row[Any]]:
        """What is stale and still `sending` becomes `unknown`, by the database's clock; which attempts those are."""
        return await self._rows(
            "UPDATE t_akselgate_transaction_log SET outcome = 'unknown', status_code_res = 'unknown',"
            " response_message = 'No answer was recorded: the process that sent it may have ended.'"
            " WHERE outcome = 'sending' AND stale_at < now() RETURNING id, manufacturer_org_id"
        )

    async def get(self, attempt_id: int) -> Row[Any]:
        """Raises NotFound."""
        return _found(await self._row_or_none(f"{SELECT} WHERE log.id = :id", id=attempt_id), attempt_id)

    async def lock(self, attempt_id: int) -> Row[Any]:
        """Until the transaction ends nobody else moves the attempt, so that the last of its callbacks closes it."""
        await self._run("SELECT FROM t_akselgate_transaction_log WHERE id = :id FOR UPDATE", id=attempt_id)
        return await self.get(attempt_id)

    async def newest(self, kd_settle: str, transaction_type: str) -> Row[Any] | None:
        return await self._row_or_none(
            f"{SELECT} WHERE log.settlement_key = :settlement AND log.transaction_type = :type AND log.is_latest = 1",
            settlement=kd_settle.lower(),
            type=transaction_type,
        )

    async def of_key(self, idempotency_key: str) -> Row[Any] | None:
        return await self._row_or_none(
            f"{SELECT} WHERE log.idempotency_key = :key ORDER BY log.id DESC LIMIT 1", key=idempotency_key
        )

    async def list(
        self,
        *,
        kd_settle: str | None,
        transaction_type: str | None,
        outcome: str | None,
        is_latest: int | None,
        before: int | None,
        limit: int,
    ) -> Sequence[Row[Any]]:
        """Newest first."""
        return await self._rows(
            f"{SELECT} WHERE (CAST(:settlement AS text) IS NULL OR log.settlement_key = :settlement)"
            " AND (CAST(:type AS text) IS NULL OR log.transaction_type = :type)"
            " AND (CAST(:outcome AS text) IS NULL OR log.outcome = :outcome)"
            " AND (CAST(:is_latest AS int) IS NULL OR log.is_latest = :is_latest)"
            " AND (CAST(:before AS bigint) IS NULL OR log.id < :before) ORDER BY log.id DESC LIMIT :limit",
            settlement=kd_settle and kd_settle.lower(),
            type=transaction_type,
            outcome=outcome,
            is_latest=is_latest,
            before=before,
            limit=limit,
        )

    async def payloads(self, attempt_id: int) -> Row[Any]:
        return await self._row(
            "SELECT request_payload, response_payload FROM t_akselgate_transaction_log WHERE id = :id", id=attempt_id
        )

    async def rows(self, attempt_id: int, *, after: int, limit: int) -> Sequence[Row[Any]]:
        return await self._rows(
            "SELECT row_number, reference_number, debit_account, credit_account, amount, description, callback_state,"
            " callback_at, locked FROM t_akselgate_transaction_rows WHERE attempt_id = :id AND row_number > :after"
            " ORDER BY row_number LIMIT :limit",
            id=attempt_id,
            after=after,
            limit=limit,
        )

    async def locked(self, references: Sequence[str]) -> Sequence[Row[Any]]:
        """Which of the references are held, whatever their case, and by which attempt."""
        return await self._rows(
            "SELECT line.reference_key, line.attempt_id, log.attempt_number, log.kd_settle"
            " FROM t_akselgate_transaction_rows AS line"
            " JOIN t_akselgate_transaction_log AS log ON log.id = line.attempt_id"
            " WHERE line.locked AND line.reference_key = ANY(CAST(:references AS text[]))",
            references=[reference.lower() for reference in references],
        )

    async def perhaps_paid(self, attempt_id: int) -> Sequence[Row[Any]]:
        """References of the attempt that an earlier attempt sent and that are not certainly unpaid, each with it.

        Certain are: nothing was sent, the gateway itself refused, or its callback reported a failure. A person's word
        is not, nor what an older system recorded.
        """
        return await self._rows(SENT_BEFORE, id=attempt_id)


def _found(attempt: Row[Any] | None, attempt_id: int) -> Row[Any]:
    if attempt is None:
        raise NotFound(f"There is no attempt with log_id {attempt_id} in your organisation.")
    return attempt
