"""When Accurate last sent, by database and event type, and the state of the webhook subscription."""

from datetime import date

from sqlalchemy import BigInteger, SmallInteger, text
from sqlalchemy.orm import Mapped, mapped_column

from qrtrack.models.metadata import Instant, Table


class AccurateSource(Table):
    """When the last event of a database and type arrived. Monitoring shows for how long a source has been silent."""

    __tablename__ = "accurate_sources"
    __table_args__ = ({"postgresql_with": {"fillfactor": 50}},)

    database_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    type: Mapped[str] = mapped_column(primary_key=True)
    last_event_at: Mapped[Instant]


class AccurateSubscription(Table):
    """The last renewal, and the count of failed ones. The table has one row, or none before the first attempt."""

    __tablename__ = "accurate_subscription"

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    expires_on: Mapped[date | None]
    renewed_at: Mapped[Instant | None]
    failures: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    error_message: Mapped[str | None]
