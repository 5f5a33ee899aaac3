"""The newest known state of each document of Accurate."""

from decimal import Decimal
from uuid import UUID

from sqlalchemy import BigInteger, Numeric
from sqlalchemy.orm import Mapped, mapped_column

from qrtrack.models.metadata import Instant, Now, Table, TenantOwned


class AccurateDocument(TenantOwned, Table):
    """The newest known state of one entity. Its number does not identify it: Accurate reuses document numbers."""

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
