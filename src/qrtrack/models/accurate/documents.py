"""What Accurate's events say: the newest state of each document, when each source spoke last, and the subscription."""

from datetime import date
from decimal import Decimal
from uuid import UUID

from sqlalchemy import BigInteger, Numeric, SmallInteger, text
from sqlalchemy.orm import Mapped, mapped_column

from qrtrack.models.metadata import Instant, Now, Table, TenantOwned


class AccurateDocument(TenantOwned, Table):
    """The newest known state of one entity. A document number is no identity: Accurate uses numbers again."""

    __tablename__ = "accurate_documents"
    __table_args__ = ({"postgresql_with": {"fillfactor": 80}},)

    manufacturer_org_id: Mapped[UUID] = mapped_column(primary_key=True)
    database_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    type: Mapped[str] = mapped_column(primary_key=True)
    entity_id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[str | None]
    action: Mapped[str | None]
    amount: Mapped[Decimal | None] = mapped_column(Numeric)
    event_at: Mapped[Instant]
    event_id: Mapped[int] = mapped_column(BigInteger)
    deleted: Mapped[bool]
    updated_at: Mapped[Now]


class AccurateSource(Table):
    """When the last event of a database and type came: silence is an alarm."""

    __tablename__ = "accurate_sources"
    __table_args__ = ({"postgresql_with": {"fillfactor": 50}},)

    database_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    type: Mapped[str] = mapped_column(primary_key=True)
    last_event_at: Mapped[Instant]


class AccurateSubscription(Table):
    """What Accurate answered to the last renewals. One row."""

    __tablename__ = "accurate_subscription"

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    expires_on: Mapped[date | None]
    renewed_at: Mapped[Instant | None]
    failures: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    error_message: Mapped[str | None]
