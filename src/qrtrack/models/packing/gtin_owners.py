"""Which organisation a GTIN or a GS1 company prefix belongs to."""

from sqlalchemy import BigInteger, CheckConstraint, Identity, Index, text
from sqlalchemy.dialects.postgresql import INT8RANGE, ExcludeConstraint, Range
from sqlalchemy.orm import Mapped, mapped_column

from qrtrack.models.metadata import Now, Table, TenantOwned


class GtinOwner(TenantOwned, Table):
    """One GTIN, or all GTINs of a company prefix. `items` are their item numbers; no two rows share one.

    A GTIN within a prefix of its own organisation has no row.
    """

    __tablename__ = "gtin_owners"
    __table_args__ = (
        ExcludeConstraint(("items", "&&"), using="gist", name="ex_gtin_owners_items"),
        CheckConstraint("(gtin IS NULL) <> (prefix IS NULL)", name="claimed"),
        Index("ix_gtin_owners_manufacturer_org_id", "manufacturer_org_id", postgresql_where=text("prefix IS NOT NULL")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    items: Mapped[Range[int]] = mapped_column(INT8RANGE)
    gtin: Mapped[str | None]
    prefix: Mapped[str | None] = mapped_column(unique=True)
    created_by: Mapped[str]
    created_at: Mapped[Now]
