"""The queue of Accurate's webhook events, and the conflicts: a known uuid that arrived with other content."""

from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, LargeBinary, SmallInteger, text
from sqlalchemy.orm import Mapped, mapped_column

from qrtrack.domain.accurate.forwarding import ForwardStatus
from qrtrack.domain.accurate.processing import EventStatus
from qrtrack.models.leased import QUEUE_STORAGE, LeasedColumns, claim_index, leased_constraints
from qrtrack.models.metadata import Instant, Now, Table, one_of

LIVE = "status IN ('pending', 'processing')"


class WebhookEvent(LeasedColumns, Table):
    """One element of a request, with its JSON text as received. Rows are never deleted: uuid and hash identify later
    duplicates.

    First attempts are claimed in groups, by one index. Retries are claimed one by one, by another index, since an event
    may crash its worker. A trigger completes the rows that the older service inserts; their hash stays empty until it
    is needed.
    """

    __tablename__ = "webhook_queue"
    __table_args__ = (
        *leased_constraints(max_attempts=8, running="processing", terminal=("done", "skipped", "invalid", "dead")),
        one_of("status", EventStatus),
        one_of("forward_status", ForwardStatus),
        CheckConstraint(f"manufacturer_org_id IS NOT NULL OR NOT ({LIVE})", name="owned"),
        Index("idx_webhook_uuid", "uuid", unique=True, postgresql_where=text("uuid IS NOT NULL")),
        claim_index("ix_webhook_queue_claim", live=f"attempts = 0 AND {LIVE}"),
        claim_index("ix_webhook_queue_retry", live=f"attempts > 0 AND {LIVE}"),
        Index("ix_webhook_queue_manufacturer_org_id_id", "manufacturer_org_id", "id"),
        Index("ix_webhook_queue_unowned", "database_id", "id", postgresql_where=text("manufacturer_org_id IS NULL")),
        Index(
            "ix_webhook_queue_ended",
            "manufacturer_org_id",
            "status",
            "id",
            postgresql_where=text("status IN ('skipped', 'invalid', 'unassigned', 'dead')"),
        ),
        Index(
            "ix_webhook_queue_forward",
            "manufacturer_org_id",
            "database_id",
            "type",
            "id",
            postgresql_where=text("forward_status = 'pending'"),
        ),
        Index(
            "ix_webhook_queue_retention",
            "created_at",
            postgresql_where=text("payload <> '' AND status IN ('done', 'skipped', 'invalid', 'dead')"),
        ),
        {"postgresql_with": QUEUE_STORAGE},
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    manufacturer_org_id: Mapped[UUID | None]
    type: Mapped[str]
    database_id: Mapped[int | None] = mapped_column(BigInteger)
    uuid: Mapped[str | None]
    payload: Mapped[str] = mapped_column(deferred=True)
    content_hash: Mapped[bytes] = mapped_column(LargeBinary, server_default=text("''::bytea"))
    status: Mapped[str] = mapped_column(server_default=text("'pending'"))
    error: Mapped[str | None]
    note: Mapped[str | None]
    forward_status: Mapped[str | None]
    forward_attempts: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    forward_at: Mapped[Instant | None]
    forward_error: Mapped[str | None]


class WebhookConflict(Table):
    """Other content that arrived under a known uuid, and how often. Its organisation is the owner of the database that
    the other content names; the known event can belong to another organisation.
    """

    __tablename__ = "webhook_conflicts"
    __table_args__ = (Index("uq_webhook_conflicts_queue_id_content_hash", "queue_id", "content_hash", unique=True),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    queue_id: Mapped[int] = mapped_column(BigInteger, ForeignKey(WebhookEvent.id))
    manufacturer_org_id: Mapped[UUID | None]
    database_id: Mapped[int | None] = mapped_column(BigInteger)
    content_hash: Mapped[bytes] = mapped_column(LargeBinary)
    payload: Mapped[str]
    times: Mapped[int] = mapped_column(BigInteger, server_default=text("1"))
    created_at: Mapped[Now]
    last_at: Mapped[Now]
