"""The console: sessions of signed-in people, and codes of sign-in links."""

from collections.abc import Sequence

from alembic import op

from qrtrack.postgresql.tenancy import enforce_tenancy

revision: str = "20261126_console"
down_revision: str | None = "20261126_printers"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TABLES = (
    """
    CREATE TABLE console_sessions (
        token_hash bytea CONSTRAINT pk_console_sessions PRIMARY KEY,
        user_id text NOT NULL,
        roles text[] NOT NULL,
        station text,
        created_at timestamptz DEFAULT now() NOT NULL,
        expires_at timestamptz NOT NULL,
        manufacturer_org_id uuid NOT NULL
    )
    """,
    "CREATE INDEX ix_console_sessions_expires_at ON console_sessions (expires_at)",
    """
    CREATE TABLE console_sign_in_codes (
        code_hash bytea CONSTRAINT pk_console_sign_in_codes PRIMARY KEY,
        user_id text NOT NULL,
        roles text[] NOT NULL,
        expires_at timestamptz NOT NULL,
        manufacturer_org_id uuid NOT NULL
    )
    """,
    "CREATE INDEX ix_console_sign_in_codes_expires_at ON console_sign_in_codes (expires_at)",
)
# Requests read a session before they know its organisation, so that is done outside the role of requests.
RIGHTS = {"console_sessions": "SELECT", "console_sign_in_codes": "SELECT"}


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)
    enforce_tenancy(RIGHTS)


def downgrade() -> None:
    op.execute("DROP TABLE console_sign_in_codes, console_sessions")
