"""Attempts to send a settlement. Triggers decide which changes are allowed, and which attempt blocks a settlement."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from qrtrack.domain.akselgate.answers import Verdict
from qrtrack.domain.akselgate.attempts import AttemptFilter
from qrtrack.domain.errors import NotFound
from qrtrack.repositories.base import Repository

COLUMNS = """
    log.id, log.manufacturer_org_id, log.transaction_type, log.kd_settle, log.request_id, log.attempt_number,
    log.total_transaksi, log.control_sum, log.payload_sha256, log.outcome, log.status_code_res, log.response_code,
    log.response_message, log.is_success, log.is_latest, log.sent_by, log.sent_at, log.updated_at,
    EXISTS (SELECT FROM t_akselgate_open_attempts AS held WHERE held.attempt_id = log.id) AS is_open
"""
FIND = f"SELECT {COLUMNS} FROM t_akselgate_transaction_log AS log WHERE log.id = :id"
LOCK = "SELECT FROM t_akselgate_transaction_log WHERE id = :id FOR UPDATE"
FIND_LATEST = f"""
SELECT {COLUMNS}
FROM t_akselgate_transaction_log AS log
WHERE log.settlement_key = :settlement_key AND log.transaction_type = :transaction_type AND log.is_latest = 1
"""
FIND_BY_KEY = f"""
SELECT {COLUMNS}
FROM t_akselgate_transaction_log AS log
WHERE log.idempotency_key = :key
ORDER BY log.id DESC
LIMIT 1
"""
LIST = f"""
SELECT {COLUMNS}
FROM t_akselgate_transaction_log AS log
WHERE (CAST(:settlement_key AS text) IS NULL OR log.settlement_key = :settlement_key)
  AND (CAST(:transaction_type AS text) IS NULL OR log.transaction_type = :transaction_type)
  AND (CAST(:outcome AS text) IS NULL OR log.outcome = :outcome)
  AND (CAST(:is_latest AS int) IS NULL OR log.is_latest = :is_latest)
  AND (CAST(:before AS bigint) IS NULL OR log.id < :before)
ORDER BY log.id DESC
LIMIT :limit
"""
FIND_PAYLOADS = "SELECT request_payload, response_payload FROM t_akselgate_transaction_log WHERE id = :id"
LIST_ROWS = """
SELECT row_number, reference_number, debit_account, credit_account, amount, description, callback_state, callback_at,
       locked
FROM t_akselgate_transaction_rows
WHERE attempt_id = :id AND row_number > :after
ORDER BY row_number
LIMIT :limit
"""
RECORD_ANSWER = """
UPDATE t_akselgate_transaction_log
SET outcome = CAST(:outcome AS text),
    status_code_res = :status_code,
    response_code = :response_code,
    response_message = :response_message,
    response_payload = :response_payload,
    is_success = CASE CAST(:outcome AS text) WHEN 'accepted' THEN 1 WHEN 'unknown' THEN NULL ELSE 0 END
WHERE id = :id AND outcome = 'sending'
"""
SWEEP = f"""
UPDATE t_akselgate_transaction_log AS log
SET outcome = 'unknown',
    status_code_res = 'unknown',
    response_message = 'No answer was recorded: the process that sent the batch may have ended.'
WHERE log.outcome = 'sending' AND log.stale_at < now()
RETURNING {COLUMNS}
"""


class FoundAttempt(NamedTuple):
    """An attempt. `is_open` says that it blocks the next dispatch of its settlement."""

    id: int
    manufacturer_org_id: UUID
    transaction_type: str
    kd_settle: str
    request_id: str
    attempt_number: int
    total_transaksi: int
    control_sum: Decimal
    payload_sha256: str
    outcome: str
    status_code_res: str | None
    response_code: str | None
    response_message: str | None
    is_success: int | None
    is_latest: int
    sent_by: str
    sent_at: datetime
    updated_at: datetime
    is_open: bool


class Payloads(NamedTuple):
    request_payload: str
    response_payload: str | None


class SentRow(NamedTuple):
    """One transaction of an attempt, and what the gateway reported about it."""

    row_number: int
    reference_number: str
    debit_account: str
    credit_account: str
    amount: Decimal
    description: str
    callback_state: str
    callback_at: datetime | None
    locked: bool


class AttemptRepository(Repository):
    async def get(self, attempt_id: int) -> FoundAttempt:
        """Raises NotFound."""
        missing = NotFound(f"There is no attempt with log_id {attempt_id} in your organisation.")
        return await self._fetch_existing(FoundAttempt, FIND, missing, id=attempt_id)

    async def lock(self, attempt_id: int) -> FoundAttempt:
        """Locks the attempt until the transaction ends. A second statement reads it, so it sees what others committed
        meanwhile: the last of concurrent callbacks sees all of them, and closes the attempt. Raises NotFound.
        """
        await self._execute(LOCK, id=attempt_id)
        return await self.get(attempt_id)

    async def find_latest(self, kd_settle: str, transaction_type: str) -> FoundAttempt | None:
        return await self._fetch_optional(
            FoundAttempt, FIND_LATEST, settlement_key=kd_settle.lower(), transaction_type=transaction_type
        )

    async def find_by_key(self, idempotency_key: str) -> FoundAttempt | None:
        return await self._fetch_optional(FoundAttempt, FIND_BY_KEY, key=idempotency_key)

    async def list(self, wanted: AttemptFilter, *, before: int | None, limit: int) -> Sequence[FoundAttempt]:
        """Lists attempts, newest first."""
        return await self._fetch_all(
            FoundAttempt,
            LIST,
            settlement_key=wanted.kd_settle and wanted.kd_settle.lower(),
            transaction_type=wanted.transaction_type,
            outcome=wanted.outcome,
            is_latest=wanted.is_latest,
            before=before,
            limit=limit,
        )

    async def find_payloads(self, attempt_id: int) -> Payloads:
        return await self._fetch_one(Payloads, FIND_PAYLOADS, id=attempt_id)

    async def list_rows(self, attempt_id: int, *, after: int, limit: int) -> Sequence[SentRow]:
        return await self._fetch_all(SentRow, LIST_ROWS, id=attempt_id, after=after, limit=limit)

    async def record_answer(self, attempt_id: int, verdict: Verdict) -> bool:
        """Writes the response fields once. Returns False if the attempt is no longer `sending`."""
        changed = await self._execute(
            RECORD_ANSWER,
            id=attempt_id,
            outcome=verdict.outcome,
            status_code=verdict.status_code,
            response_code=verdict.response_code,
            response_message=verdict.response_message,
            response_payload=verdict.response_payload,
        )
        return changed == 1

    async def sweep(self) -> Sequence[FoundAttempt]:
        """Sets stale `sending` attempts to `unknown`, by the database's clock. Returns them."""
        return await self._fetch_all(FoundAttempt, SWEEP)
