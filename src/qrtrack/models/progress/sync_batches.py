"""Progress batches: one row holds the counters of each."""

from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, SmallInteger, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from qrtrack.domain.progress.sync_batches import SyncStatus
from qrtrack.models.metadata import Instant, Now, Table, TenantOwned, one_of


class SyncBatch(TenantOwned, Table):
    """The counters of a progress batch. No index contains a counter, so counting is a heap-only update (HOT)."""

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
