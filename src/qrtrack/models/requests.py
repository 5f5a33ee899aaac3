"""Idempotency keys, and when each organisation's work was last claimed."""

from typing import Any
from uuid import UUID

from sqlalchemy import Index, LargeBinary, SmallInteger
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from qrtrack.models.metadata import Instant, Now, Table, TenantOwned


class IdempotencyKey(TenantOwned, Table):
    """A request that took effect, and its answer. Both are committed together with the effect; a dispatch of a
    settlement adds its answer later. `so_far`: what a request of several transactions has done before its last one. A
    repeated request continues there.
    """

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index("ix_idempotency_keys_created_at", "created_at"),)

    manufacturer_org_id: Mapped[UUID] = mapped_column(primary_key=True)
    route: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    body_hash: Mapped[bytes] = mapped_column(LargeBinary)
    status_code: Mapped[int | None] = mapped_column(SmallInteger)
    headers: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    answer: Mapped[str | None]
    so_far: Mapped[list[Any] | None] = mapped_column(JSONB)
    created_at: Mapped[Now]


class QueueTurn(Table):
    """Has the time of the last claim of each organisation and kind of work. The organisation with the oldest time is
    served next.
    """

    __tablename__ = "queue_turns"
    __table_args__ = ({"postgresql_with": {"fillfactor": 50}},)

    kind: Mapped[str] = mapped_column(primary_key=True)
    manufacturer_org_id: Mapped[UUID] = mapped_column(primary_key=True)
    served_at: Mapped[Instant]
