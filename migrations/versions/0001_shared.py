"""What all areas share: background work, idempotency keys, trace, notifications, the console's sessions, and tables of
the whole service.
"""

from collections.abc import Sequence

from alembic import op

from qrtrack.postgresql.tenancy import enforce_tenancy, tenant_role

revision: str = "0001_shared"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

QUEUES = (
    """
    CREATE TABLE queue_turns (
        kind text,
        manufacturer_org_id uuid,
        served_at timestamptz NOT NULL,
        CONSTRAINT pk_queue_turns PRIMARY KEY (kind, manufacturer_org_id)
    ) WITH (fillfactor = 50)
    """,
    """
    CREATE TABLE leased_groups (
        token uuid CONSTRAINT pk_leased_groups PRIMARY KEY,
        kind text NOT NULL,
        ids bigint[] NOT NULL,
        claimed_at timestamptz DEFAULT now() NOT NULL,
        lease_expires_at timestamptz NOT NULL
    )
    """,
    """
    CREATE TABLE periodic_tasks (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_periodic_tasks PRIMARY KEY,
        name text NOT NULL,
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
        CONSTRAINT uq_periodic_tasks_name UNIQUE (name),
        CONSTRAINT ck_periodic_tasks_lease
            CHECK ((status = 'running') = (lease_token IS NOT NULL)
                AND (lease_token IS NULL) = (lease_expires_at IS NULL)),
        CONSTRAINT ck_periodic_tasks_finished
            CHECK ((status IN ('completed', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
        CONSTRAINT ck_periodic_tasks_priority CHECK (priority BETWEEN 0 AND 9),
        CONSTRAINT ck_periodic_tasks_attempts CHECK (attempts BETWEEN 0 AND 3)
    ) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05)
    """,
    """
    CREATE INDEX ix_periodic_tasks_claim ON periodic_tasks (manufacturer_org_id, priority DESC, run_at, id)
        WHERE status IN ('queued', 'running')
    """,
    """
    CREATE TABLE worker_processes (
        id uuid CONSTRAINT pk_worker_processes PRIMARY KEY,
        host text NOT NULL,
        started_at timestamptz DEFAULT now() NOT NULL,
        polled_at timestamptz NOT NULL,
        alive_until timestamptz NOT NULL
    ) WITH (fillfactor = 50)
    """,
    """
    CREATE TABLE work_kinds (
        kind text CONSTRAINT pk_work_kinds PRIMARY KEY,
        last_finished_at timestamptz NOT NULL
    ) WITH (fillfactor = 50)
    """,
)

REQUESTS = (
    """
    CREATE TABLE idempotency_keys (
        manufacturer_org_id uuid,
        route text,
        key text,
        body_hash bytea NOT NULL,
        status_code smallint,
        headers jsonb,
        answer text,
        created_at timestamptz DEFAULT now() NOT NULL,
        so_far jsonb,
        CONSTRAINT pk_idempotency_keys PRIMARY KEY (manufacturer_org_id, route, key)
    )
    """,
    "CREATE INDEX ix_idempotency_keys_created_at ON idempotency_keys (created_at)",
    """
    CREATE TABLE trace_events (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_trace_events PRIMARY KEY,
        occurred_at timestamptz DEFAULT now() NOT NULL,
        action text NOT NULL,
        actor text NOT NULL,
        station text,
        reason text,
        batch_id uuid,
        master_code_id bigint,
        job_id uuid,
        sequences int4multirange,
        unit_count integer DEFAULT 0 NOT NULL,
        details jsonb DEFAULT '{}' NOT NULL,
        manufacturer_org_id uuid NOT NULL
    )
    """,
    "CREATE INDEX ix_trace_events_batch_id_id ON trace_events (batch_id, id)",
    """
    CREATE INDEX ix_trace_events_packs ON trace_events (manufacturer_org_id, id)
        WHERE action IN ('case.packed', 'case.linked')
    """,
    """
    CREATE INDEX ix_trace_events_taken_out ON trace_events (batch_id, id)
        WHERE action IN ('codes.unlinked', 'codes.voided', 'case.moved')
    """,
)

NOTIFICATIONS = (
    """
    CREATE TABLE notifications (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_notifications PRIMARY KEY,
        subject text NOT NULL,
        subject_id uuid NOT NULL,
        channel text NOT NULL,
        address text NOT NULL,
        content jsonb NOT NULL,
        repeat_key text,
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
        CONSTRAINT ck_notifications_lease
            CHECK ((status = 'running') = (lease_token IS NOT NULL)
                AND (lease_token IS NULL) = (lease_expires_at IS NULL)),
        CONSTRAINT ck_notifications_finished
            CHECK ((status IN ('completed', 'failed')) = (finished_at IS NOT NULL)),
        CONSTRAINT ck_notifications_priority CHECK (priority BETWEEN 0 AND 9),
        CONSTRAINT ck_notifications_channel CHECK (channel IN ('email', 'url')),
        CONSTRAINT ck_notifications_subject
            CHECK (subject IN ('reverse_job', 'batch', 'verification_alert', 'verification_report')),
        CONSTRAINT uq_notifications_subject_id_channel_repeat_key UNIQUE (subject_id, channel, repeat_key),
        CONSTRAINT ck_notifications_attempts CHECK (attempts BETWEEN 0 AND 8)
    ) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05)
    """,
    """
    CREATE INDEX ix_notifications_claim ON notifications (manufacturer_org_id, priority DESC, run_at, id)
        WHERE status IN ('queued', 'running')
    """,
    "CREATE INDEX ix_notifications_finished_at ON notifications (finished_at) WHERE finished_at IS NOT NULL",
)

# Tables of the whole service: requests have no rights on them.
SERVICE = (
    """
    CREATE TABLE secret_key_fingerprint (
        is_only boolean DEFAULT true CONSTRAINT pk_secret_key_fingerprint PRIMARY KEY,
        fingerprint text NOT NULL,
        created_at timestamptz DEFAULT now() NOT NULL,
        CONSTRAINT ck_secret_key_fingerprint_is_only CHECK (is_only)
    )
    """,
    """
    CREATE TABLE count_repairs (
        kind text CONSTRAINT pk_count_repairs PRIMARY KEY,
        repairs bigint NOT NULL,
        last_repaired_at timestamptz NOT NULL
    )
    """,
)

SESSIONS = (
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

TRIGGERS = (
    # Nobody changes or deletes a trace event, not even the tables' owner. Other append-only tables use the function too.
    """
    CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
    END $$
    """,
    """
    CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON trace_events
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
    """,
    # Triggers of batches and jobs call it. It runs with the rights of the tables' owner, because the role of requests
    # ends jobs and may not insert notifications.
    """
    CREATE FUNCTION announce_end(organisation uuid, subject text, subject_id uuid, notify jsonb, content jsonb)
    RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    BEGIN
        INSERT INTO notifications (manufacturer_org_id, status, subject, subject_id, channel, address, content)
        SELECT organisation, 'queued', subject, subject_id, named.channel, named.address, content
        FROM jsonb_each_text(notify) AS named (channel, address) ORDER BY named.channel;
        PERFORM pg_notify('qrtrack_queues', 'notification');
    END $$
    """,
    "REVOKE EXECUTE ON FUNCTION announce_end(uuid, text, uuid, jsonb, jsonb) FROM PUBLIC",
)

# Requests read a session before they know its organisation, so the program reads sessions outside the role of requests.
RIGHTS = {
    "console_sessions": "SELECT",
    "console_sign_in_codes": "SELECT",
    "idempotency_keys": "SELECT, INSERT, UPDATE",
    "notifications": "SELECT",
    "periodic_tasks": "SELECT",
    "trace_events": "SELECT, INSERT",
}


def upgrade() -> None:
    for statement in (*QUEUES, *REQUESTS, *NOTIFICATIONS, *SERVICE, *SESSIONS, *TRIGGERS):
        op.execute(statement)
    op.execute(f"GRANT USAGE ON SCHEMA public TO {tenant_role()}")
    enforce_tenancy(RIGHTS)


def downgrade() -> None:
    op.execute(
        """
        DROP TABLE queue_turns, leased_groups, periodic_tasks, worker_processes, work_kinds, idempotency_keys,
            trace_events, notifications, secret_key_fingerprint, count_repairs, console_sessions,
            console_sign_in_codes
        """
    )
    op.execute("DROP FUNCTION refuse_change(), announce_end(uuid, text, uuid, jsonb, jsonb)")
