"""Undo finds what a case took from the queue; the sheet tells what closing voided; an exclusion says who made it."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy import text

revision: str = "20261126_packing_undo"
down_revision: str | None = "20261126_money_allow_list"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# `batch.closed` names exactly the codes that closing voided, and a void code stays void.
VOIDED_BY_CLOSING = """
UPDATE qr_codes AS code SET voided_by_closing = true FROM trace_events AS event
WHERE event.action = 'batch.closed' AND event.batch_id = code.batch_id
  AND event.sequences @> code.sequence_number AND code.status = 'void'
"""
EXCLUDED_BY = """
UPDATE qr_excluded_codes AS excluded SET excluded_by = COALESCE(
    (SELECT job.created_by FROM qr_reverse_jobs AS job WHERE job.id = excluded.job_id),
    (SELECT event.actor FROM trace_events AS event
     WHERE event.batch_id = excluded.batch_id AND event.action IN ('codes.missing', 'reverse_job.submitted')
       AND event.sequences @> excluded.sequence_number
     ORDER BY event.id DESC LIMIT 1))
"""


def upgrade() -> None:
    op.create_index(
        "ix_qr_prepared_codes_consumed",
        "qr_prepared_codes",
        ["batch_id", "sequence_number"],
        postgresql_where=text("status = 'consumed'"),
    )
    op.add_column(
        "qr_codes", sa.Column("voided_by_closing", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    op.execute(VOIDED_BY_CLOSING)
    op.create_check_constraint(
        op.f("ck_qr_codes_voided_by_closing"), "qr_codes", "NOT voided_by_closing OR status = 'void'"
    )
    op.add_column("qr_excluded_codes", sa.Column("excluded_by", sa.Text(), nullable=True))
    op.execute(EXCLUDED_BY)


def downgrade() -> None:
    op.drop_column("qr_excluded_codes", "excluded_by")
    op.drop_constraint(op.f("ck_qr_codes_voided_by_closing"), "qr_codes")
    op.drop_column("qr_codes", "voided_by_closing")
    op.drop_index("ix_qr_prepared_codes_consumed", table_name="qr_prepared_codes")
