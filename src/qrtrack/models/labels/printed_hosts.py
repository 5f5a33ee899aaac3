"""The public hosts that are printed on labels."""

from uuid import UUID

from sqlalchemy.orm import Mapped, mapped_column

from qrtrack.models.metadata import Now, Table, TenantOwned


class PrintedHost(TenantOwned, Table):
    """One row for each host and organisation. The program refuses to start if its settings lack the host."""

    __tablename__ = "printed_hosts"

    manufacturer_org_id: Mapped[UUID] = mapped_column(primary_key=True)
    host: Mapped[str] = mapped_column(primary_key=True)
    first_printed_at: Mapped[Now]
