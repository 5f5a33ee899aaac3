"""Rows that the older service, or a copy of its table, writes into webhook_queue: they say less than ours must."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261122_webhook_contract"
down_revision: str | None = "20261122_count_repairs"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

LIVE = "NEW.status IN ('pending', 'processing') AND NEW.manufacturer_org_id IS NULL"
OVER = "NEW.status IN ('done', 'skipped', 'invalid', 'dead') AND NEW.finished_at IS NULL"


def upgrade() -> None:
    # Empty stands for unknown: it is computed from the payload when the same uuid comes again.
    op.alter_column("webhook_queue", "content_hash", server_default=sa.text("''::bytea"))
    op.execute(
        f"""
        CREATE FUNCTION webhook_queue_complete() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF {LIVE} THEN
                NEW.status := 'unassigned';
            ELSE
                NEW.finished_at := NEW.updated_at;
            END IF;
            RETURN NEW;
        END $$
        """
    )
    op.execute(
        "CREATE TRIGGER webhook_queue_complete BEFORE INSERT ON webhook_queue"
        f" FOR EACH ROW WHEN ({LIVE} OR {OVER}) EXECUTE FUNCTION webhook_queue_complete()"
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER webhook_queue_complete ON webhook_queue")
    op.execute("DROP FUNCTION webhook_queue_complete()")
    op.alter_column("webhook_queue", "content_hash", server_default=None)
