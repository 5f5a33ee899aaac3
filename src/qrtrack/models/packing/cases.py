"""Master cases."""

from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Identity, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from qrtrack.domain.packing.states import CaseStatus, Completeness
from qrtrack.models.metadata import Instant, Now, Table, TenantOwned, child_of, one_of


class Case(TenantOwned, Table):
    """A box of at most `expected_units` codes. It is open while it is empty, and packed from its first code on.

    All its codes lie between `first_sequence` and `last_sequence`; codes of other cases may lie there too.
    """

    __tablename__ = "qr_master_codes"
    __table_args__ = (
        one_of("status", CaseStatus),
        one_of("completeness", Completeness),
        CheckConstraint("actual_units BETWEEN 0 AND expected_units AND expected_units >= 1", name="units"),
        CheckConstraint("(status = 'open') = (actual_units = 0)", name="open"),
        CheckConstraint(
            "(status = 'packed') = (first_sequence IS NOT NULL) AND (status = 'packed') = (last_sequence IS NOT NULL)",
            name="span",
        ),
        CheckConstraint(
            "(status = 'packed') = (packed_at IS NOT NULL) AND (status = 'packed') = (completeness IS NOT NULL)",
            name="packed",
        ),
        child_of("qr_batches", {"batch_id": "id"}),
        UniqueConstraint("manufacturer_org_id", "master_code"),
        UniqueConstraint("batch_id", "case_number"),
        UniqueConstraint("batch_id", "id"),
        # The list of batches sums packed units: 500,000 cases of a page are read from the index alone. Row-level
        # security needs the organisation.
        Index(
            "ix_qr_master_codes_packed",
            "batch_id",
            postgresql_include=["manufacturer_org_id", "actual_units"],
            postgresql_where=text("actual_units > 0"),
        ),
        # The overview counts the organisation's cases since midnight every three seconds. The index above, which is by
        # batch, would make it read the cases of all batches.
        Index(
            "ix_qr_master_codes_packed_at",
            "manufacturer_org_id",
            "packed_at",
            postgresql_where=text("packed_at IS NOT NULL"),
        ),
        {"postgresql_with": {"fillfactor": 80}},
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    batch_id: Mapped[UUID]
    master_code: Mapped[str]
    case_number: Mapped[int]
    variant: Mapped[str | None]
    expected_units: Mapped[int]
    actual_units: Mapped[int] = mapped_column(server_default=text("0"))
    completeness: Mapped[str | None]
    status: Mapped[str] = mapped_column(server_default=text("'open'"))
    first_sequence: Mapped[int | None]
    last_sequence: Mapped[int | None]
    first_code: Mapped[str | None]
    last_code: Mapped[str | None]
    packed_at: Mapped[Instant | None]
    packed_by: Mapped[str | None]
    station: Mapped[str | None]
    created_at: Mapped[Now]
