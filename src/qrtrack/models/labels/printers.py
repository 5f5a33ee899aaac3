"""Label printers of an organisation."""

from uuid import UUID

from sqlalchemy import ARRAY, CheckConstraint, SmallInteger, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import INET, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from qrtrack.domain.labels.documents import FileFormat
from qrtrack.domain.labels.printers import Address
from qrtrack.models.metadata import Now, Table, TenantOwned, one_of


class Printer(TenantOwned, Table):
    """`ip` is the address of `host` when the printer was stored. It was checked then, and the service connects to it.
    The printer prints the labels of the cases that its `stations` pack.
    """

    __tablename__ = "printers"
    __table_args__ = (
        one_of("file_format", FileFormat),
        CheckConstraint("port BETWEEN 9100 AND 9109", name="port"),
        UniqueConstraint("manufacturer_org_id", "name"),
        UniqueConstraint("manufacturer_org_id", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    host: Mapped[str]
    port: Mapped[int]
    ip: Mapped[Address] = mapped_column(INET)
    file_format: Mapped[str]
    dpi: Mapped[int] = mapped_column(SmallInteger)
    preset: Mapped[str | None]
    stations: Mapped[list[str]] = mapped_column(ARRAY(Text))
    calibration: Mapped[dict[str, float]] = mapped_column(JSONB)
    created_by: Mapped[str]
    created_at: Mapped[Now]
    updated_at: Mapped[Now]
