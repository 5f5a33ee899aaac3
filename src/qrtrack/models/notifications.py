"""Notifications to send. Triggers insert them in the transaction that ends the job or batch, or records the alert or
report.
"""

from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Identity, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from qrtrack.domain.notifications import Channel, Subject
from qrtrack.models.leased import QUEUE_STORAGE, Leased, claim_index, leased_constraints
from qrtrack.models.metadata import Table, one_of


class Notification(Leased, Table):
    """One message on one channel. `content` has the data of the job or batch when it ended, or of the alert or report.
    Of several notifications with the same `subject_id`, channel and `repeat_key`, only the first is stored; NULL keys
    are all different.
    """

    __tablename__ = "notifications"
    __table_args__ = (
        *leased_constraints(max_attempts=8, terminal=("completed", "failed")),
        one_of("channel", Channel),
        one_of("subject", Subject),
        UniqueConstraint("subject_id", "channel", "repeat_key"),
        claim_index("ix_notifications_claim", live="status IN ('queued', 'running')"),
        Index("ix_notifications_finished_at", "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
        {"postgresql_with": QUEUE_STORAGE},
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    subject: Mapped[str]
    subject_id: Mapped[UUID]
    channel: Mapped[str]
    address: Mapped[str]
    repeat_key: Mapped[str | None]
    content: Mapped[dict[str, Any]] = mapped_column(JSONB)
