"""Periodic tasks: one row each, so that only one process runs a task at a time."""

from sqlalchemy import BigInteger, Identity
from sqlalchemy.orm import Mapped, mapped_column

from qrtrack.models.leased import QUEUE_STORAGE, Leased, claim_index, leased_constraints
from qrtrack.models.metadata import Table


class PeriodicTask(Leased, Table):
    """A periodic task never ends: after a run it is queued again, due at `run_at` (`next_run_at` in the API). It
    belongs to no organisation but to the service itself.
    """

    __tablename__ = "periodic_tasks"
    __table_args__ = (
        *leased_constraints(),
        claim_index("ix_periodic_tasks_claim", live="status IN ('queued', 'running')"),
        {"postgresql_with": QUEUE_STORAGE},
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
