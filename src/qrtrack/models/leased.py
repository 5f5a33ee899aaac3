"""Columns and constraints of a leased queue. repositories/leased.py changes its rows."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, Index, SmallInteger, text
from sqlalchemy.orm import Mapped, mapped_column

from qrtrack.models.metadata import Instant, Now, Table, TenantOwned


class LeasedColumns:
    """Work that one worker at a time holds. `run_at` is the earliest time of its next claim (the database's clock)."""

    priority: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    run_at: Mapped[Now]
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    lease_token: Mapped[UUID | None]
    lease_expires_at: Mapped[Instant | None]
    created_at: Mapped[Now]
    updated_at: Mapped[Now]
    started_at: Mapped[Instant | None]
    finished_at: Mapped[Instant | None]


class Leased(LeasedColumns, TenantOwned):
    """The status columns of tables that have no contract with an older system. Other tables declare these two columns
    themselves, under the names of their contract.
    """

    status: Mapped[str]
    error_message: Mapped[str | None]


class LeasedGroup(Table):
    """The lease of a group of small pieces. Rows of the pieces do not change while a worker holds the group."""

    __tablename__ = "leased_groups"

    token: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str]
    ids: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    claimed_at: Mapped[Now]
    lease_expires_at: Mapped[Instant]


def leased_constraints(
    *,
    max_attempts: int = 3,
    running: str = "running",
    terminal: Sequence[str] = ("completed", "failed", "cancelled"),
) -> tuple[CheckConstraint, ...]:
    """Returns the constraints of a leased table: only running rows have a lease, only terminal rows have an end, and
    attempts are limited.
    """
    ended = ", ".join(f"'{word}'" for word in terminal)
    return (
        CheckConstraint(
            f"(status = '{running}') = (lease_token IS NOT NULL)"
            " AND (lease_token IS NULL) = (lease_expires_at IS NULL)",
            name="lease",
        ),
        CheckConstraint(f"(status IN ({ended})) = (finished_at IS NOT NULL)", name="finished"),
        CheckConstraint(f"attempts BETWEEN 0 AND {max_attempts}", name="attempts"),
        CheckConstraint("priority BETWEEN 0 AND 9", name="priority"),
    )


def claim_index(name: str, *, live: str) -> Index:
    """Returns an index in the order of claiming. Heartbeats and stored progress change no column of the index or of its
    condition, so these updates are HOT.
    """
    return Index(
        name,
        "manufacturer_org_id",
        text("priority DESC"),
        "run_at",
        "id",
        postgresql_where=text(live),
    )


# Rows of a queue are updated often, so pages keep free space and vacuum runs early.
QUEUE_STORAGE = {
    "fillfactor": 80,
    "autovacuum_vacuum_scale_factor": 0.02,
    "autovacuum_vacuum_insert_scale_factor": 0.05,
}
