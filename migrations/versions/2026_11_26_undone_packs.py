"""The list of packs marks what was undone: the few events that take units out of cases get an index."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261126_undone_packs"
down_revision: str | None = "20261126_packing_undo"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_index(
        "ix_trace_events_taken_out",
        "trace_events",
        ["batch_id", "id"],
        unique=False,
        postgresql_where=sa.text("action IN ('codes.unlinked', 'codes.voided', 'case.moved')"),
    )


def downgrade() -> None:
    op.drop_index("ix_trace_events_taken_out", table_name="trace_events")
