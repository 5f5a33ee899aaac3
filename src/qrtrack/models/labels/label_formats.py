"""An organisation's own label formats, in addition to the presets."""

from typing import Any
from uuid import UUID

from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from qrtrack.models.metadata import Now, Table, TenantOwned


class StoredLabelFormat(TenantOwned, Table):
    """One label format of an organisation. `definition` has the form of the API."""

    __tablename__ = "label_formats"

    manufacturer_org_id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    definition: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_by: Mapped[str]
    created_at: Mapped[Now]
    updated_at: Mapped[Now]
