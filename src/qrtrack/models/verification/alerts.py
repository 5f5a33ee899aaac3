"""Alerts that checks raise."""

from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKeyConstraint, Identity, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from qrtrack.domain.verification.alerts import AlertKind
from qrtrack.models.metadata import Now, Table, TenantOwned, child_of, one_of


class VerificationAlert(TenantOwned, Table):
    """At most one alert a day for each kind and batch, or kind and unit. An alert without `sequence_number` is about
    the batch.
    """

    __tablename__ = "verification_alerts"
    __table_args__ = (
        one_of("kind", AlertKind),
        child_of("qr_batches", {"batch_id": "id"}),
        # The batch ties the unit to the organisation.
        ForeignKeyConstraint(["batch_id", "sequence_number"], ["qr_codes.batch_id", "qr_codes.sequence_number"]),
        UniqueConstraint(
            "batch_id",
            "kind",
            "sequence_number",
            "raised_on",
            name="uq_verification_alerts_once_a_day",
            postgresql_nulls_not_distinct=True,
        ),
        Index("ix_verification_alerts_batch_id_id", "batch_id", "id"),
        Index("ix_verification_alerts_manufacturer_org_id_id", "manufacturer_org_id", "id"),
        Index("ix_verification_alerts_raised_at", "raised_at"),
        Index("ix_verification_alerts_manufacturer_org_id_raised_at", "manufacturer_org_id", "raised_at"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    batch_id: Mapped[UUID]
    kind: Mapped[str]
    sequence_number: Mapped[int | None]
    raised_on: Mapped[date] = mapped_column(server_default=text("(now() AT TIME ZONE 'UTC')::date"))
    raised_at: Mapped[Now]
    details: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
