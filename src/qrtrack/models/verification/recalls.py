"""Recalls of batches, cases and codes."""

from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKeyConstraint, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from qrtrack.domain.verification.recalls import RecallScope
from qrtrack.models.metadata import Instant, Now, Table, TenantOwned, child_of, one_of


class Recall(TenantOwned, Table):
    """In force until `lifted_at`. A recall of a batch is this one row, whatever its quantity. A recall of codes or of a
    case also has a row in `recalled_codes` for each of its units. Units that are put into a recalled case later are
    covered without such a row.
    """

    __tablename__ = "recalls"
    __table_args__ = (
        one_of("scope", RecallScope),
        CheckConstraint("(scope = 'codes') = (batch_id IS NULL)", name="batch"),
        CheckConstraint("(scope = 'case') = (master_code_id IS NOT NULL)", name="case"),
        CheckConstraint("(lifted_at IS NULL) = (lifted_by IS NULL)", name="lifted"),
        CheckConstraint("unit_count >= 1", name="unit_count"),
        child_of("qr_batches", {"batch_id": "id"}),
        # The batch ties the case to the organisation.
        ForeignKeyConstraint(["batch_id", "master_code_id"], ["qr_master_codes.batch_id", "qr_master_codes.id"]),
        UniqueConstraint("manufacturer_org_id", "id"),
        Index(
            "uq_recalls_in_force",
            "batch_id",
            "master_code_id",
            "reason",
            unique=True,
            postgresql_nulls_not_distinct=True,
            postgresql_where=text("lifted_at IS NULL AND scope <> 'codes'"),
        ),
        Index("ix_recalls_batch_id", "batch_id", postgresql_where=text("lifted_at IS NULL")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    scope: Mapped[str]
    batch_id: Mapped[UUID | None]
    master_code_id: Mapped[int | None] = mapped_column(BigInteger)
    reason: Mapped[str]
    text_en: Mapped[str]
    text_id: Mapped[str]
    unit_count: Mapped[int]
    recalled_at: Mapped[Now]
    recalled_by: Mapped[str]
    lifted_at: Mapped[Instant | None]
    lifted_by: Mapped[str | None]


class RecalledCode(TenantOwned, Table):
    """One unit of a recall of codes or of a case. Batch and sequence number identify the unit."""

    __tablename__ = "recalled_codes"
    __table_args__ = (
        child_of("recalls", {"recall_id": "id"}),
        child_of("qr_batches", {"batch_id": "id"}),
        # The batch ties the unit to the organisation.
        ForeignKeyConstraint(["batch_id", "sequence_number"], ["qr_codes.batch_id", "qr_codes.sequence_number"]),
        Index("ix_recalled_codes_batch_id_sequence_number", "batch_id", "sequence_number"),
    )

    recall_id: Mapped[UUID] = mapped_column(primary_key=True)
    batch_id: Mapped[UUID] = mapped_column(primary_key=True)
    sequence_number: Mapped[int] = mapped_column(primary_key=True)
