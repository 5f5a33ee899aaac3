"""Fan-outs of other systems: the one row that counts each, and one row for every record's outcome."""

from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, SmallInteger, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from qrtrack.domain.progress.sync_batches import SyncStatus
from qrtrack.models.metadata import Instant, Now, Table, TenantOwned, one_of


class SyncBatch(TenantOwned, Table):
    """How far a fan-out is. No counter is in an index, so that counting stays in the row's page."""

    __tablename__ = "sync_batch_progress"
    __table_args__ = (
        one_of("status", SyncStatus),
        CheckConstraint("total_records BETWEEN 1 AND 10000000", name="total_records"),
        CheckConstraint("processed_records >= 0 AND success_count >= 0 AND failed_records >= 0", name="counted"),
        CheckConstraint("progress_percentage BETWEEN 0 AND 100", name="progress_percentage"),
        CheckConstraint("(status IN ('completed', 'failed')) = (progress_percentage = 100)", name="complete"),
        CheckConstraint("(status IN ('completed', 'failed', 'cancelled')) = (completed_at IS NOT NULL)", name="ended"),
        Index("ix_sync_batch_progress_processing", "batch_id", postgresql_where=text("status = 'processing'")),
        {"postgresql_with": {"fillfactor": 50}},
    )

    batch_id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    kind: Mapped[str]
    total_records: Mapped[int]
    processed_records: Mapped[int] = mapped_column(server_default=text("0"))
    success_count: Mapped[int] = mapped_column(server_default=text("0"))
    failed_records: Mapped[int] = mapped_column(server_default=text("0"))
    progress_percentage: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    status: Mapped[str] = mapped_column(server_default=text("'pending'"))
    summary: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    created_by: Mapped[str]
    created_at: Mapped[Now]
    updated_at: Mapped[Now]
    started_at: Mapped[Instant | None]
    completed_at: Mapped[Instant | None]


class SyncRecord(TenantOwned, Table):
    """The outcome of one record: the truth that the counters follow.

    No foreign key: its check would lock the batch's row for each record, the row that all reporters move. The last
    statement of a report finds its batch or undoes the report. That the batch is the organisation's own, the table's
    policy checks.
    """

    __tablename__ = "sync_batch_records"
    __table_args__ = (
        Index(
            "ix_sync_batch_records_failures",
            "batch_id",
            "recorded_at",
            "record_key",
            postgresql_where=text("NOT success"),
        ),
    )

    batch_id: Mapped[UUID] = mapped_column(primary_key=True)
    record_key: Mapped[str] = mapped_column(Text(collation="C"), primary_key=True)
    success: Mapped[bool]
    error: Mapped[str | None]
    recorded_at: Mapped[Now]
