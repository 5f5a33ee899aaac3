"""Attempts to send a settlement to the bank gateway: their rows, their locks and their events.

Triggers in the migration that created these tables enforce the rules that protect money.
"""

from decimal import Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Computed,
    Identity,
    Index,
    Numeric,
    SmallInteger,
    String,
    text,
)
from sqlalchemy import PrimaryKeyConstraint as PrimaryKey
from sqlalchemy import UniqueConstraint as Unique
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from qrtrack.domain.akselgate.attempts import ALARMING, AttemptOutcome, EventKind, TransactionType
from qrtrack.domain.akselgate.callbacks import CallbackState
from qrtrack.models.metadata import Instant, Now, Table, TenantOwned, child_of, one_of


def lowered(column: str) -> Any:
    """Returns a generated column: `column` with its ASCII letters in lower case, for keys that ignore case."""
    return mapped_column(Computed(f'lower({column} COLLATE "C")', persisted=True))


class Attempt(TenantOwned, Table):
    """One try to send one settlement. Triggers allow changes only of the response fields, the outcome and `is_latest`.

    `settlement_key` ignores case, as the bank does. `is_success` follows from the outcome. From `stale_at` on, the
    sender no longer sends, and the sweeper may set `unknown`. `imported`: the row came from an older system, with its
    request id.
    """

    __tablename__ = "t_akselgate_transaction_log"
    __table_args__ = (
        one_of("transaction_type", TransactionType),
        one_of("outcome", AttemptOutcome),
        CheckConstraint("imported OR request_id = id::text", name="request_id"),
        CheckConstraint("attempt_number >= 1", name="attempt_number"),
        CheckConstraint("total_transaksi >= 1", name="total_transaksi"),
        CheckConstraint("is_latest IN (0, 1)", name="is_latest"),
        CheckConstraint("(outcome = 'sending') = (status_code_res IS NULL)", name="answered"),
        CheckConstraint(
            "is_success IS NOT DISTINCT FROM"
            " CASE outcome WHEN 'accepted' THEN 1 WHEN 'rejected' THEN 0 WHEN 'not_sent' THEN 0 END",
            name="is_success",
        ),
        CheckConstraint("imported OR kd_settle ~ '^[!-~]([ -~]*[!-~])?$'", name="kd_settle"),
        Unique("settlement_key", "transaction_type", "attempt_number", name="uq_akselgate_attempt_number"),
        Index(
            "uq_akselgate_latest",
            "settlement_key",
            "transaction_type",
            unique=True,
            postgresql_where=text("is_latest = 1"),
        ),
        Index("ix_akselgate_log_request_id", "request_id"),
        Unique("manufacturer_org_id", "id", name="uq_akselgate_log_org"),
        Index("ix_akselgate_log_sent_at", "manufacturer_org_id", "sent_at"),
        Index("ix_akselgate_log_sending", "stale_at", postgresql_where=text("outcome = 'sending'")),
        Index(
            "ix_akselgate_log_key",
            "manufacturer_org_id",
            "idempotency_key",
            postgresql_where=text("idempotency_key IS NOT NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    transaction_type: Mapped[str]
    kd_settle: Mapped[str] = mapped_column(String(50))
    settlement_key: Mapped[str] = lowered("kd_settle")
    request_id: Mapped[str] = mapped_column(String(100))
    attempt_number: Mapped[int]
    total_transaksi: Mapped[int]
    request_payload: Mapped[str]
    payload_sha256: Mapped[str]
    control_sum: Mapped[Decimal] = mapped_column(Numeric)
    outcome: Mapped[str]
    status_code_res: Mapped[str | None]
    response_code: Mapped[str | None]
    response_message: Mapped[str | None]
    response_payload: Mapped[str | None]
    is_success: Mapped[int | None] = mapped_column(SmallInteger)
    is_latest: Mapped[int] = mapped_column(SmallInteger, server_default=text("1"))
    sent_by: Mapped[str]
    sent_at: Mapped[Now]
    stale_at: Mapped[Instant] = mapped_column(server_default=text("now() + interval '20 minutes'"))
    idempotency_key: Mapped[str | None]
    imported: Mapped[bool] = mapped_column(server_default=text("false"))
    created_at: Mapped[Now]
    updated_at: Mapped[Now]


class AttemptRow(TenantOwned, Table):
    """One transaction of an attempt. `locked`: no attempt may send its reference again. Only triggers change it."""

    __tablename__ = "t_akselgate_transaction_rows"
    __table_args__ = (
        PrimaryKey("attempt_id", "row_number", name="pk_akselgate_rows"),
        child_of("t_akselgate_transaction_log", {"attempt_id": "id"}, name="fk_akselgate_rows_attempt_id"),
        Unique("reference_key", "attempt_id", name="uq_akselgate_rows_reference"),
        one_of("callback_state", CallbackState),
        CheckConstraint("(callback_state = 'missing') = (callback_at IS NULL)", name="callback_at"),
        Index("uq_akselgate_reference_locked", "reference_key", unique=True, postgresql_where=text("locked")),
        Index("ix_akselgate_rows_missing", "attempt_id", postgresql_where=text("callback_state = 'missing'")),
    )

    attempt_id: Mapped[int] = mapped_column(BigInteger)
    row_number: Mapped[int]
    reference_number: Mapped[str] = mapped_column(String(15))
    reference_key: Mapped[str] = lowered("reference_number")
    debit_account: Mapped[str]
    credit_account: Mapped[str]
    amount: Mapped[Decimal] = mapped_column(Numeric)
    description: Mapped[str]
    callback_state: Mapped[str] = mapped_column(server_default=text("'missing'"))
    callback_at: Mapped[Instant | None]
    locked: Mapped[bool] = mapped_column(server_default=text("true"))


class OpenAttempt(TenantOwned, Table):
    """The attempt that blocks the next dispatch of its settlement. Only triggers write here."""

    __tablename__ = "t_akselgate_open_attempts"
    __table_args__ = (
        PrimaryKey("settlement_key", "transaction_type", name="pk_akselgate_open"),
        Unique("attempt_id", name="uq_akselgate_open_attempt_id"),
        child_of("t_akselgate_transaction_log", {"attempt_id": "id"}, name="fk_akselgate_open_attempt_id"),
    )

    kd_settle: Mapped[str] = mapped_column(String(50))
    settlement_key: Mapped[str] = lowered("kd_settle")
    transaction_type: Mapped[str]
    attempt_id: Mapped[int] = mapped_column(BigInteger)


class AttemptEvent(TenantOwned, Table):
    """What happened to an attempt besides its answer. Append-only; a repeated callback adds no event."""

    __tablename__ = "t_akselgate_events"
    __table_args__ = (
        one_of("kind", EventKind),
        child_of("t_akselgate_transaction_log", {"attempt_id": "id"}, name="fk_akselgate_events_attempt_id"),
        CheckConstraint("(kind = 'resolved') = (outcome IS NOT NULL)", name="outcome"),
        Index(
            "uq_akselgate_events_callback",
            "attempt_id",
            "reference_number",
            "result",
            "result_reference",
            unique=True,
            postgresql_where=text("kind IN ('callback', 'unknown_reference', 'unreadable_callback')"),
        ),
        Index("ix_akselgate_events_attempt_id", "attempt_id", "id"),
        Index(
            "ix_akselgate_events_alarming",
            "occurred_at",
            postgresql_where=text(f"kind IN ({', '.join(repr(str(kind)) for kind in ALARMING)})"),
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    attempt_id: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[str]
    occurred_at: Mapped[Now]
    actor: Mapped[str]
    outcome: Mapped[str | None]
    note: Mapped[str | None]
    reference_number: Mapped[str | None]
    result: Mapped[str | None]
    result_reference: Mapped[str | None]
    details: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
