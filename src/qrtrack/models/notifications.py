"""Notifications to send. Triggers insert them in the transaction that ends a job or a batch."""

from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Identity, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from qrtrack.domain.notifications import Channel
from qrtrack.models.leased import QUEUE_STORAGE, Leased, claim_index, leased_constraints
from qrtrack.models.metadata import Table, one_of


class Notification(Leased, Table):
    """One message on one channel. `content`: the final row of the job or batch."""

    __tablename__ = "notifications"
    __table_args__ = (
        *leased_constraints(max_attempts=8, terminal=("completed", "failed")),
        one_of("channel", Channel),
        CheckConstraint("subject IN ('reverse_job', 'batch')", name="subject"),
        claim_index("ix_notifications_claim", live="status IN ('queued', 'running')"),
        Index("ix_notifications_finished_at", "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
        {"postgresql_with": QUEUE_STORAGE},
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    subject: Mapped[str]
    subject_id: Mapped[UUID]
    channel: Mapped[str]
    address: Mapped[str]
    content: Mapped[dict[str, Any]] = mapped_column(JSONB)
