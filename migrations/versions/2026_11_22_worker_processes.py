"""Worker processes say that they are alive, and when they last ended work of a kind."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261122_worker_processes"
down_revision: str | None = "20261122_case_spans"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "work_kinds",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("last_finished_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("kind", name=op.f("pk_work_kinds")),
        postgresql_with={"fillfactor": 50},
    )
    op.create_table(
        "worker_processes",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("polled_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("alive_until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_worker_processes")),
        postgresql_with={"fillfactor": 50},
    )


def downgrade() -> None:
    op.drop_table("worker_processes")
    op.drop_table("work_kinds")
