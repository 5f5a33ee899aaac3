"""Trace events: who changed what, when and why. The database refuses updates and deletes."""

from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Identity, Index, text
from sqlalchemy.dialects.postgresql import INT4MULTIRANGE, JSONB
from sqlalchemy.dialects.postgresql.ranges import MultiRange
from sqlalchemy.orm import Mapped, mapped_column

from qrtrack.models.metadata import Now, Table, TenantOwned


class TraceEvent(TenantOwned, Table):
    """One action. Its codes are stored as ranges of the batch's sequence numbers.

    `batch_id` is a batch of codes or a progress batch. There are no foreign keys, since an event outlives its job. The
    policy checks that batch, case and job belong to the organisation.
    """

    __tablename__ = "trace_events"
    __table_args__ = (
        Index("ix_trace_events_batch_id_id", "batch_id", "id"),
        Index(
            "ix_trace_events_packs",
            "manufacturer_org_id",
            "id",
            postgresql_where=text("action IN ('case.packed', 'case.linked')"),
        ),
        Index(
            "ix_trace_events_taken_out",
            "batch_id",
            "id",
            postgresql_where=text("action IN ('codes.unlinked', 'codes.voided', 'case.moved')"),
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    occurred_at: Mapped[Now]
    action: Mapped[str]
    actor: Mapped[str]
    station: Mapped[str | None]
    reason: Mapped[str | None]
    batch_id: Mapped[UUID | None]
    master_code_id: Mapped[int | None] = mapped_column(BigInteger)
    job_id: Mapped[UUID | None]
    sequences: Mapped[MultiRange[int] | None] = mapped_column(INT4MULTIRANGE)
    unit_count: Mapped[int] = mapped_column(server_default=text("0"))
    details: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
