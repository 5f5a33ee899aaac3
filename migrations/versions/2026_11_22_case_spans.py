"""A case knows the span of its codes, so that nothing of a code that changes has to be indexed."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261122_case_spans"
down_revision: str | None = "20261122_akselgate"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

SPANS = """
UPDATE qr_master_codes AS box SET first_sequence = inside.low, last_sequence = inside.high
FROM (SELECT master_code_id, min(sequence_number) AS low, max(sequence_number) AS high FROM qr_codes
      WHERE master_code_id IS NOT NULL GROUP BY master_code_id) AS inside
WHERE box.id = inside.master_code_id
"""
SPAN = "(status = 'packed') = (first_sequence IS NOT NULL) AND (status = 'packed') = (last_sequence IS NOT NULL)"


def upgrade() -> None:
    op.add_column("qr_master_codes", sa.Column("first_sequence", sa.Integer(), nullable=True))
    op.add_column("qr_master_codes", sa.Column("last_sequence", sa.Integer(), nullable=True))
    op.execute(SPANS)
    op.create_check_constraint(op.f("ck_qr_master_codes_span"), "qr_master_codes", SPAN)
    op.drop_index("ix_qr_codes_master_code_id", table_name="qr_codes")
    op.execute("ALTER TABLE qr_codes SET (fillfactor = 45)")


def downgrade() -> None:
    op.execute("ALTER TABLE qr_codes SET (fillfactor = 75)")
    op.create_index(
        "ix_qr_codes_master_code_id",
        "qr_codes",
        ["master_code_id"],
        unique=False,
        postgresql_where=sa.text("master_code_id IS NOT NULL"),
    )
    op.drop_constraint(op.f("ck_qr_master_codes_span"), "qr_master_codes")
    op.drop_column("qr_master_codes", "last_sequence")
    op.drop_column("qr_master_codes", "first_sequence")
