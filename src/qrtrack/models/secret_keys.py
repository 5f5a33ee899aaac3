"""The fingerprint of SECRET_KEY."""

from sqlalchemy import CheckConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from qrtrack.models.metadata import Now, Table


class SecretKeyFingerprint(Table):
    """One row, written by the first start. If somebody deletes it, the next start accepts any SECRET_KEY and stores its
    fingerprint.
    """

    __tablename__ = "secret_key_fingerprint"
    __table_args__ = (CheckConstraint("is_only", name="is_only"),)

    is_only: Mapped[bool] = mapped_column(primary_key=True, server_default=text("true"))
    fingerprint: Mapped[str]
    created_at: Mapped[Now]
