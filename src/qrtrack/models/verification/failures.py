"""Failed checks, which the limits on guessing count."""

from sqlalchemy import BigInteger, Identity, Index, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from qrtrack.models.metadata import Now, Table


class VerificationFailure(Table):
    """One failed check. The limits on guessing count these rows by code, network, wide network and batch. The columns
    of these four are keyed hashes. Checks of unknown codes and unknown batches count as well, so a row belongs to no
    organisation. `code_key` is NULL if the check named no code. Only IPv6 has a wide network (/48).
    """

    __tablename__ = "verification_failures"
    __table_args__ = (
        Index("ix_verification_failures_code_key_failed_at", "code_key", "failed_at"),
        Index("ix_verification_failures_network_key_failed_at", "network_key", "failed_at"),
        Index("ix_verification_failures_wide_network_key_failed_at", "wide_network_key", "failed_at"),
        Index("ix_verification_failures_batch_key_failed_at", "batch_key", "failed_at"),
        Index("ix_verification_failures_failed_at", "failed_at"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    failed_at: Mapped[Now]
    batch_key: Mapped[bytes] = mapped_column(LargeBinary)
    code_key: Mapped[bytes | None] = mapped_column(LargeBinary)
    network_key: Mapped[bytes] = mapped_column(LargeBinary)
    wide_network_key: Mapped[bytes | None] = mapped_column(LargeBinary)
