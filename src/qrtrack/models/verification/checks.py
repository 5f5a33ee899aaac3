"""Recorded checks of units."""

from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKeyConstraint, Identity, Index, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from qrtrack.domain.verification.checks import Purpose, Result
from qrtrack.models.metadata import Now, Table, TenantOwned, child_of, one_of


class Verification(TenantOwned, Table):
    """One check with the right key. A check with a wrong key is stored in `verification_failures` instead.

    `browser` is a hash of the random cookie, `network` a keyed hash of the address that changes daily. `actor` is the
    user of a `qc` check.
    """

    __tablename__ = "verifications"
    __table_args__ = (
        one_of("purpose", Purpose),
        one_of("result", Result),
        CheckConstraint("result <> 'unknown'", name="right_key"),
        CheckConstraint("(purpose = 'qc') = (actor IS NOT NULL)", name="actor"),
        child_of("qr_batches", {"batch_id": "id"}),
        # The batch ties the unit to the organisation.
        ForeignKeyConstraint(["batch_id", "sequence_number"], ["qr_codes.batch_id", "qr_codes.sequence_number"]),
        Index("ix_verifications_batch_id_sequence_number_id", "batch_id", "sequence_number", "id"),
        Index("ix_verifications_batch_id_id", "batch_id", "id"),
        Index("ix_verifications_manufacturer_org_id_id", "manufacturer_org_id", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    batch_id: Mapped[UUID]
    sequence_number: Mapped[int]
    purpose: Mapped[str]
    result: Mapped[str]
    checked_at: Mapped[Now]
    browser: Mapped[bytes | None] = mapped_column(LargeBinary)
    network: Mapped[bytes | None] = mapped_column(LargeBinary)
    actor: Mapped[str | None]
