"""Reports by consumers."""

from uuid import UUID

from sqlalchemy import BigInteger, Identity, Index, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from qrtrack.domain.verification.reports import ReportReason
from qrtrack.models.metadata import Now, Table, TenantOwned, child_of, one_of


class VerificationReport(TenantOwned, Table):
    """What a consumer reports about a product. No account is needed. `code` is stored as the consumer entered it;
    possibly no unit has it.
    """

    __tablename__ = "verification_reports"
    __table_args__ = (
        one_of("reason", ReportReason),
        child_of("qr_batches", {"batch_id": "id"}),
        Index("ix_verification_reports_batch_id_id", "batch_id", "id"),
        Index("ix_verification_reports_manufacturer_org_id_id", "manufacturer_org_id", "id"),
        Index("ix_verification_reports_reported_at", "reported_at"),
        Index("ix_verification_reports_manufacturer_org_id_reported_at", "manufacturer_org_id", "reported_at"),
        Index("ix_verification_reports_network_reported_at", "network", "reported_at"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    batch_id: Mapped[UUID]
    code: Mapped[str | None]
    reason: Mapped[str]
    message: Mapped[str | None]
    reported_at: Mapped[Now]
    network: Mapped[bytes] = mapped_column(LargeBinary)
