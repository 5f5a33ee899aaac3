"""Repairs by recalculations."""

from sqlalchemy import BigInteger
from sqlalchemy.orm import Mapped, mapped_column

from qrtrack.models.metadata import Instant, Table


class CountRepair(Table):
    """How often wrong counters of a kind have been repaired, by any process. Each repair means a defect."""

    __tablename__ = "count_repairs"

    kind: Mapped[str] = mapped_column(primary_key=True)
    repairs: Mapped[int] = mapped_column(BigInteger)
    last_repaired_at: Mapped[Instant]
