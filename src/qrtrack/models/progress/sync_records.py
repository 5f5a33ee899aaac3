"""Records of progress batches: one row for each outcome."""

from uuid import UUID

from sqlalchemy import Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from qrtrack.models.metadata import Now, Table, TenantOwned


class SyncRecord(TenantOwned, Table):
    """The outcome of one record. A recount derives the counters from these rows.

    There is no foreign key: its check would lock the batch's row for each record, and all reporters update that row.
    Instead, the statement that inserts the records inserts none if the batch does not exist, and the policy of the
    table checks that the batch belongs to the organisation.
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
