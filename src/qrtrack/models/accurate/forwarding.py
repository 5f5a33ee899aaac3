"""The queue of streams: webhook events to forward."""

from sqlalchemy import BigInteger, Identity, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from qrtrack.models.leased import QUEUE_STORAGE, Leased, claim_index, leased_constraints
from qrtrack.models.metadata import Table


class WebhookStream(Leased, Table):
    """The events of one type and database to forward. One worker at a time holds a stream, so its events stay in order.

    `touched` counts the additions. A worker compares it at the end of its run, to notice events that were added
    meanwhile.
    """

    __tablename__ = "webhook_streams"
    __table_args__ = (
        *leased_constraints(max_attempts=8),
        Index(
            "uq_webhook_streams_manufacturer_org_id_database_id_type",
            "manufacturer_org_id",
            "database_id",
            "type",
            unique=True,
        ),
        claim_index("ix_webhook_streams_claim", live="status IN ('queued', 'running')"),
        {"postgresql_with": QUEUE_STORAGE},
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    database_id: Mapped[int] = mapped_column(BigInteger)
    type: Mapped[str]
    touched: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
