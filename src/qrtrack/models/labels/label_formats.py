"""Label formats of an organisation's own, beside the presets."""

from typing import Any
from uuid import UUID

from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from qrtrack.models.metadata import Now, Table, TenantOwned


class StoredLabelFormat(TenantOwned, Table):
    """`definition` is the format as the API takes it."""

    __tablename__ = "label_formats"

    manufacturer_org_id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    definition: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_by: Mapped[str]
    created_at: Mapped[Now]
    updated_at: Mapped[Now]
