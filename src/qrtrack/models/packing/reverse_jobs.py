"""Reverse jobs, the codes they have prepared for packing, and the log lines that the plant reads."""

from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, Identity, Index, SmallInteger, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from qrtrack.domain.jobs import JobStatus
from qrtrack.domain.packing.states import PreparedStatus
from qrtrack.models.leased import QUEUE_STORAGE, Leased, claim_index, leased_constraints
from qrtrack.models.metadata import Instant, Now, Table, TenantOwned, child_of, one_of


class ReverseJob(Leased, Table):
    """Prepares every code of a batch or variant that can be packed and is not excluded. After an interruption it
    continues at `next_sequence`.
    """

    __tablename__ = "qr_reverse_jobs"
    __table_args__ = (
        *leased_constraints(),
        one_of("status", JobStatus),
        CheckConstraint("progress BETWEEN 0 AND 100", name="progress"),
        CheckConstraint("(status = 'completed') = (progress = 100)", name="completed"),
        CheckConstraint("(status = 'completed') = (result_summary IS NOT NULL)", name="result"),
        claim_index("ix_qr_reverse_jobs_claim", live="status IN ('queued', 'running')"),
        child_of("qr_batches", {"batch_id": "id"}),
        UniqueConstraint("manufacturer_org_id", "id"),
        # With this order of columns, the index also finds the jobs of a batch.
        UniqueConstraint("batch_id", "id", "manufacturer_org_id"),
        Index("ix_qr_reverse_jobs_finished_at", "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
        Index(
            "ix_qr_reverse_jobs_failed",
            "manufacturer_org_id",
            "finished_at",
            postgresql_where=text("status = 'failed'"),
        ),
        {"postgresql_with": QUEUE_STORAGE},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    batch_id: Mapped[UUID]
    order_id: Mapped[UUID]
    variant: Mapped[str | None]
    exclude_codes: Mapped[list[str]] = mapped_column(ARRAY(Text), deferred=True)
    first_sequence: Mapped[int]
    last_sequence: Mapped[int]
    next_sequence: Mapped[int]
    counted_at: Mapped[Instant | None]
    total_available_in_batch: Mapped[int | None]
    remaining_to_prepare: Mapped[int | None]
    prepared_count: Mapped[int] = mapped_column(server_default=text("0"))
    duplicate_count: Mapped[int] = mapped_column(server_default=text("0"))
    excluded_count: Mapped[int] = mapped_column(server_default=text("0"))
    excluded_already_unavailable: Mapped[int] = mapped_column(server_default=text("0"))
    progress: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    result_summary: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    created_by: Mapped[str]
    notify: Mapped[dict[str, str] | None] = mapped_column(JSONB(none_as_null=True))


class PreparedCode(TenantOwned, Table):
    """A code in the first-in-first-out queue of its batch, until it is packed."""

    __tablename__ = "qr_prepared_codes"
    __table_args__ = (
        one_of("status", PreparedStatus),
        child_of("qr_reverse_jobs", {"batch_id": "batch_id", "job_id": "id"}, ondelete="CASCADE"),
        CheckConstraint("(status = 'consumed') = (consumed_at IS NOT NULL)", name="consumed"),
        Index(
            "uq_qr_prepared_codes_prepared",
            "order_id",
            "batch_id",
            "code",
            unique=True,
            postgresql_where=text("status = 'prepared'"),
        ),
        Index(
            "ix_qr_prepared_codes_queue", "batch_id", "sequence_number", postgresql_where=text("status = 'prepared'")
        ),
        # Unlinking uses this index to find the codes that a case took from the queue. Preparing a code does not write
        # it.
        Index(
            "ix_qr_prepared_codes_consumed", "batch_id", "sequence_number", postgresql_where=text("status = 'consumed'")
        ),
        Index("ix_qr_prepared_codes_job_id_id", "job_id", "id"),
        {"postgresql_with": QUEUE_STORAGE},
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    job_id: Mapped[UUID]
    batch_id: Mapped[UUID]
    order_id: Mapped[UUID]
    sequence_number: Mapped[int]
    code: Mapped[str]
    status: Mapped[str] = mapped_column(server_default=text("'prepared'"))
    created_at: Mapped[Now]
    consumed_at: Mapped[Instant | None]


class ReverseJobLog(TenantOwned, Table):
    """One line of a job's log, such as a step, a retry, a warning or a failure."""

    __tablename__ = "qr_reverse_job_logs"
    __table_args__ = (
        child_of("qr_reverse_jobs", {"job_id": "id"}, ondelete="CASCADE"),
        CheckConstraint("level IN ('info', 'warn', 'error')", name="level"),
        Index("ix_qr_reverse_job_logs_job_id_id", "job_id", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    job_id: Mapped[UUID]
    level: Mapped[str]
    message: Mapped[str]
    created_at: Mapped[Now]
