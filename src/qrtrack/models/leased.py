"""The columns and constraints that make a table a queue; how they move is written once in repositories/leased.py."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, Index, SmallInteger, text
from sqlalchemy.orm import Mapped, mapped_column

from qrtrack.models.metadata import Instant, Now, Table, TenantOwned


class LeasedColumns:
    """Work that one worker holds at a time. `run_at` is when it may next be claimed, by the database's clock."""

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
    """The same with the names that our own tables use; a table whose names are a contract brings its own."""

    status: Mapped[str]
    error_message: Mapped[str | None]


class LeasedGroup(Table):
    """Pieces of small work that one worker holds together, and that say nothing of it themselves."""

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
    """Running rows have a lease and no others do; terminal rows have an end and no others do. Nothing is tried more
    often than its queue allows.
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
    """The order of claiming. No lease, beat or progress column is in it, so that those updates stay in their page."""
    return Index(
        name,
        "manufacturer_org_id",
        text("priority DESC"),
        "run_at",
        "id",
        postgresql_where=text(live),
    )


# A queue's rows are updated often and die young: room in the page, and an early vacuum.
QUEUE_STORAGE = {
    "fillfactor": 80,
    "autovacuum_vacuum_scale_factor": 0.02,
    "autovacuum_vacuum_insert_scale_factor": 0.05,
}
