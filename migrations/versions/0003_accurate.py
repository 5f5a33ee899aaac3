"""Accurate's webhook events, how they are passed on, and the documents made from them."""

from collections.abc import Sequence

from alembic import op

from qrtrack.postgresql.tenancy import enforce_tenancy

revision: str = "0003_accurate"
down_revision: str | None = "0002_packing"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# The default of content_hash stands for "unknown": the older service writes rows without a hash. The hash is computed
# from the payload when the same uuid comes again.
EVENTS = (
    """
    CREATE TABLE webhook_queue (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_webhook_queue PRIMARY KEY,
        manufacturer_org_id uuid,
        type text NOT NULL,
        database_id bigint,
        uuid text,
        payload text NOT NULL,
        content_hash bytea DEFAULT ''::bytea NOT NULL,
        status text DEFAULT 'pending' NOT NULL,
        error text,
        note text,
        forward_status text,
        forward_attempts smallint DEFAULT 0 NOT NULL,
        forward_at timestamptz,
        forward_error text,
        priority smallint DEFAULT 0 NOT NULL,
        run_at timestamptz DEFAULT now() NOT NULL,
        attempts smallint DEFAULT 0 NOT NULL,
        lease_token uuid,
        lease_expires_at timestamptz,
        created_at timestamptz DEFAULT now() NOT NULL,
        updated_at timestamptz DEFAULT now() NOT NULL,
        started_at timestamptz,
        finished_at timestamptz,
        CONSTRAINT ck_webhook_queue_lease
            CHECK ((status = 'processing') = (lease_token IS NOT NULL)
                AND (lease_token IS NULL) = (lease_expires_at IS NULL)),
        CONSTRAINT ck_webhook_queue_finished
            CHECK ((status IN ('done', 'skipped', 'invalid', 'dead')) = (finished_at IS NOT NULL)),
        CONSTRAINT ck_webhook_queue_forward_status CHECK (forward_status IN ('pending', 'sent', 'dead')),
        CONSTRAINT ck_webhook_queue_owned
            CHECK (manufacturer_org_id IS NOT NULL OR NOT (status IN ('pending', 'processing'))),
        CONSTRAINT ck_webhook_queue_status
            CHECK (status IN ('pending', 'processing', 'done', 'skipped', 'invalid', 'unassigned', 'dead')),
        CONSTRAINT ck_webhook_queue_priority CHECK (priority BETWEEN 0 AND 9),
        CONSTRAINT ck_webhook_queue_attempts CHECK (attempts BETWEEN 0 AND 8)
    ) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05)
    """,
    "CREATE UNIQUE INDEX idx_webhook_uuid ON webhook_queue (uuid) WHERE uuid IS NOT NULL",
    """
    CREATE INDEX ix_webhook_queue_claim ON webhook_queue (manufacturer_org_id, priority DESC, run_at, id)
        WHERE attempts = 0 AND status IN ('pending', 'processing')
    """,
    """
    CREATE INDEX ix_webhook_queue_ended ON webhook_queue (manufacturer_org_id, status, id)
        WHERE status IN ('skipped', 'invalid', 'unassigned', 'dead')
    """,
    """
    CREATE INDEX ix_webhook_queue_forward ON webhook_queue (manufacturer_org_id, database_id, type, id)
        WHERE forward_status = 'pending'
    """,
    """
    CREATE INDEX ix_webhook_queue_retention ON webhook_queue (created_at)
        WHERE payload <> '' AND status IN ('done', 'skipped', 'invalid', 'dead')
    """,
    "CREATE INDEX ix_webhook_queue_manufacturer_org_id_id ON webhook_queue (manufacturer_org_id, id)",
    """
    CREATE INDEX ix_webhook_queue_retry ON webhook_queue (manufacturer_org_id, priority DESC, run_at, id)
        WHERE attempts > 0 AND status IN ('pending', 'processing')
    """,
    "CREATE INDEX ix_webhook_queue_unowned ON webhook_queue (database_id, id) WHERE manufacturer_org_id IS NULL",
    """
    CREATE TABLE webhook_conflicts (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_webhook_conflicts PRIMARY KEY,
        queue_id bigint NOT NULL,
        manufacturer_org_id uuid,
        content_hash bytea NOT NULL,
        payload text NOT NULL,
        times bigint DEFAULT 1 NOT NULL,
        created_at timestamptz DEFAULT now() NOT NULL,
        last_at timestamptz DEFAULT now() NOT NULL,
        database_id bigint,
        CONSTRAINT fk_webhook_conflicts_queue_id FOREIGN KEY (queue_id) REFERENCES webhook_queue (id)
    )
    """,
    "CREATE UNIQUE INDEX uq_webhook_conflicts_queue_id_content_hash ON webhook_conflicts (queue_id, content_hash)",
    """
    CREATE TABLE webhook_replays (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_webhook_replays PRIMARY KEY,
        replayed_at timestamptz DEFAULT now() NOT NULL,
        actor text NOT NULL,
        reason text,
        selection jsonb NOT NULL,
        event_count integer NOT NULL,
        manufacturer_org_id uuid NOT NULL
    )
    """,
    """
    CREATE TABLE webhook_streams (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_webhook_streams PRIMARY KEY,
        database_id bigint NOT NULL,
        type text NOT NULL,
        touched bigint DEFAULT 0 NOT NULL,
        status text NOT NULL,
        error_message text,
        priority smallint DEFAULT 0 NOT NULL,
        run_at timestamptz DEFAULT now() NOT NULL,
        attempts smallint DEFAULT 0 NOT NULL,
        lease_token uuid,
        lease_expires_at timestamptz,
        created_at timestamptz DEFAULT now() NOT NULL,
        updated_at timestamptz DEFAULT now() NOT NULL,
        started_at timestamptz,
        finished_at timestamptz,
        manufacturer_org_id uuid NOT NULL,
        CONSTRAINT ck_webhook_streams_lease
            CHECK ((status = 'running') = (lease_token IS NOT NULL)
                AND (lease_token IS NULL) = (lease_expires_at IS NULL)),
        CONSTRAINT ck_webhook_streams_finished
            CHECK ((status IN ('completed', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
        CONSTRAINT ck_webhook_streams_priority CHECK (priority BETWEEN 0 AND 9),
        CONSTRAINT ck_webhook_streams_attempts CHECK (attempts BETWEEN 0 AND 8)
    ) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05)
    """,
    """
    CREATE INDEX ix_webhook_streams_claim ON webhook_streams (manufacturer_org_id, priority DESC, run_at, id)
        WHERE status IN ('queued', 'running')
    """,
    """
    CREATE UNIQUE INDEX uq_webhook_streams_manufacturer_org_id_database_id_type ON webhook_streams
        (manufacturer_org_id, database_id, type)
    """,
)

DOCUMENTS = (
    """
    CREATE TABLE accurate_documents (
        manufacturer_org_id uuid,
        database_id bigint,
        type text,
        entity_id text,
        number text,
        action text,
        amount numeric,
        event_at timestamptz NOT NULL,
        event_id bigint NOT NULL,
        deleted boolean NOT NULL,
        updated_at timestamptz DEFAULT now() NOT NULL,
        CONSTRAINT pk_accurate_documents PRIMARY KEY (manufacturer_org_id, database_id, type, entity_id)
    ) WITH (fillfactor = 80)
    """,
    """
    CREATE TABLE accurate_sources (
        database_id bigint,
        type text,
        last_event_at timestamptz NOT NULL,
        CONSTRAINT pk_accurate_sources PRIMARY KEY (database_id, type)
    ) WITH (fillfactor = 50)
    """,
    """
    CREATE TABLE accurate_subscription (
        id smallint CONSTRAINT pk_accurate_subscription PRIMARY KEY,
        expires_on date,
        renewed_at timestamptz,
        failures bigint DEFAULT 0 NOT NULL,
        error_message text
    )
    """,
)

TRIGGERS = (
    # The older service, or a copy of its table, inserts rows that break our constraints: without an organisation, or
    # ended without a time.
    """
    CREATE FUNCTION webhook_queue_complete() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.status IN ('pending', 'processing') AND NEW.manufacturer_org_id IS NULL THEN
            NEW.status := 'unassigned';
        ELSE
            NEW.finished_at := NEW.updated_at;
        END IF;
        RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER webhook_queue_complete BEFORE INSERT ON webhook_queue FOR EACH ROW
    WHEN (NEW.status IN ('pending', 'processing') AND NEW.manufacturer_org_id IS NULL
          OR NEW.status IN ('done', 'skipped', 'invalid', 'dead') AND NEW.finished_at IS NULL)
    EXECUTE FUNCTION webhook_queue_complete()
    """,
    """
    CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON webhook_replays
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
    """,
)

# Intake and the worker write events and documents outside the role of requests. With it, people read them and replay
# events.
RIGHTS = {
    "webhook_queue": "SELECT, UPDATE",
    "webhook_conflicts": "SELECT",
    "webhook_replays": "SELECT, INSERT",
    "webhook_streams": "SELECT",
    "accurate_documents": "SELECT",
}


def upgrade() -> None:
    for statement in (*EVENTS, *DOCUMENTS, *TRIGGERS):
        op.execute(statement)
    enforce_tenancy(RIGHTS)


def downgrade() -> None:
    op.execute(f"DROP TABLE {', '.join(RIGHTS)}, accurate_sources, accurate_subscription")
    op.execute("DROP FUNCTION webhook_queue_complete()")
