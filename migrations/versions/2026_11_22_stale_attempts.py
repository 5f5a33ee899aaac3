"""An attempt says itself until when it may be on its way: processes may be set to other deadlines than its sender's."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261122_stale_attempts"
down_revision: str | None = "20261122_attempts"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INDEX, LOG = "ix_akselgate_log_sending", "t_akselgate_transaction_log"
# Twice the longest deadline that can be set, for whoever writes an attempt and does not say.
LONGEST = "now() + interval '20 minutes'"


def upgrade() -> None:
    op.add_column(
        LOG, sa.Column("stale_at", sa.DateTime(timezone=True), server_default=sa.text(LONGEST), nullable=False)
    )
    op.drop_index(INDEX, table_name=LOG)
    op.create_index(INDEX, LOG, ["stale_at"], postgresql_where=sa.text("outcome = 'sending'"))
    op.execute(f"GRANT INSERT (stale_at) ON {LOG} TO {op.get_context().opts['tenant_role']}")


def downgrade() -> None:
    op.drop_index(INDEX, table_name=LOG)
    op.create_index(INDEX, LOG, ["sent_at"], postgresql_where=sa.text("outcome = 'sending'"))
    op.drop_column(LOG, "stale_at")
