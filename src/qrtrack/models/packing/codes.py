"""The codes of the units, and the exclusions that keep damaged units out of the queue."""

from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKeyConstraint,
    Identity,
    LargeBinary,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from qrtrack.domain.packing.states import CodeStatus
from qrtrack.models.metadata import Instant, Now, Table, TenantOwned, child_of, one_of
from qrtrack.models.packing.cases import Case


class Code(TenantOwned, Table):
    """One unit's serial code and its root key: digest (unique in the batch), sealed key, bcrypt hash.

    `unlinked_at` is when the code was last unlinked. A reverse job with an earlier `counted_at` does not prepare it.
    """

    __tablename__ = "qr_codes"
    __table_args__ = (
        one_of("status", CodeStatus),
        CheckConstraint(
            "CASE WHEN status IN ('generated', 'printed', 'void') THEN master_code_id IS NULL"
            " WHEN status = 'packed' THEN master_code_id IS NOT NULL ELSE true END",
            name="parent",
        ),
        CheckConstraint("(status = 'void') = (voided_at IS NOT NULL)", name="voided"),
        CheckConstraint("NOT voided_by_closing OR status = 'void'", name="voided_by_closing"),
        UniqueConstraint("manufacturer_org_id", "code"),
        UniqueConstraint("batch_id", "sequence_number"),
        UniqueConstraint("batch_id", "root_key_digest"),
        child_of("qr_batches", {"batch_id": "id"}),
        # The case belongs to the same batch, and through it to the same organisation.
        ForeignKeyConstraint(["batch_id", "master_code_id"], [Case.batch_id, Case.id]),
        # No column that changes is indexed, and each page has space for a second version of all its rows. So hashing,
        # printing and packing update rows within their pages and write no index (HOT). A case's codes are found by its
        # range of sequence numbers.
        {"postgresql_with": {"fillfactor": 45}},
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    batch_id: Mapped[UUID]
    sequence_number: Mapped[int]
    code: Mapped[str]
    variant: Mapped[str | None]
    status: Mapped[str] = mapped_column(server_default=text("'generated'"))
    master_code_id: Mapped[int | None] = mapped_column(BigInteger)
    root_key_digest: Mapped[bytes | None] = mapped_column(LargeBinary)
    root_key_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    root_key_hash: Mapped[str | None]
    printed_at: Mapped[Instant | None]
    unlinked_at: Mapped[Instant | None]
    voided_at: Mapped[Instant | None]
    void_reason: Mapped[str | None]
    voided_by_closing: Mapped[bool] = mapped_column(server_default=text("false"))
    scanned_at: Mapped[Instant | None]
    redeemed_at: Mapped[Instant | None]


class ExcludedCode(TenantOwned, Table):
    """A unit that must not be packed: a reverse job listed it, or a station found it missing. `job_id` is NULL if a
    station found it missing, or if the clean-up has deleted the job and kept the exclusion.

    The row is deleted when the job is cancelled or the code is readmitted. The clean-up deletes it with the job if the
    exclusion can no longer matter.
    """

    __tablename__ = "qr_excluded_codes"
    __table_args__ = (
        UniqueConstraint("batch_id", "sequence_number", "job_id", postgresql_nulls_not_distinct=True),
        child_of("qr_batches", {"batch_id": "id"}),
        child_of("qr_reverse_jobs", {"batch_id": "batch_id", "job_id": "id"}, ondelete="CASCADE"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    batch_id: Mapped[UUID]
    sequence_number: Mapped[int]
    job_id: Mapped[UUID | None] = mapped_column(index=True)
    created_at: Mapped[Now]
    excluded_by: Mapped[str | None]
