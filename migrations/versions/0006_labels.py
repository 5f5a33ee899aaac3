"""Labels: an organisation's own label formats, label jobs, their files in parts, and hosts on labels. Printers, and print
jobs, each sent at most once.
"""

from collections.abc import Sequence

from alembic import op

from qrtrack.postgresql.tenancy import enforce_tenancy

revision: str = "0006_labels"
down_revision: str | None = "0005_progress"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

LABELS = (
    """
    CREATE TABLE label_formats (
        manufacturer_org_id uuid,
        name text,
        definition jsonb NOT NULL,
        created_by text NOT NULL,
        created_at timestamptz DEFAULT now() NOT NULL,
        updated_at timestamptz DEFAULT now() NOT NULL,
        CONSTRAINT pk_label_formats PRIMARY KEY (manufacturer_org_id, name)
    )
    """,
    """
    CREATE TABLE label_jobs (
        id uuid CONSTRAINT pk_label_jobs PRIMARY KEY,
        batch_id uuid NOT NULL,
        what text NOT NULL,
        file_format text NOT NULL,
        preset text NOT NULL,
        definition jsonb NOT NULL,
        calibration jsonb NOT NULL,
        start_at integer NOT NULL,
        dpi smallint NOT NULL,
        at_tills boolean NOT NULL,
        with_root_key boolean NOT NULL,
        reason text,
        base_url text NOT NULL,
        first_number integer NOT NULL,
        last_number integer NOT NULL,
        label_count integer NOT NULL,
        drawn_through integer NOT NULL,
        drawn_count integer DEFAULT 0 NOT NULL,
        part_count integer DEFAULT 0 NOT NULL,
        file_bytes bigint DEFAULT 0 NOT NULL,
        progress smallint DEFAULT 0 NOT NULL,
        created_by text NOT NULL,
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
        CONSTRAINT ck_label_jobs_lease
            CHECK ((status = 'running') = (lease_token IS NOT NULL)
                   AND (lease_token IS NULL) = (lease_expires_at IS NULL)),
        CONSTRAINT ck_label_jobs_finished
            CHECK ((status IN ('completed', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
        CONSTRAINT ck_label_jobs_attempts CHECK (attempts BETWEEN 0 AND 3),
        CONSTRAINT ck_label_jobs_priority CHECK (priority BETWEEN 0 AND 9),
        CONSTRAINT ck_label_jobs_status CHECK (status IN ('queued', 'running', 'completed', 'failed', 'cancelled')),
        CONSTRAINT ck_label_jobs_what CHECK (what IN ('units', 'cases')),
        CONSTRAINT ck_label_jobs_file_format CHECK (file_format IN ('pdf', 'zpl')),
        CONSTRAINT ck_label_jobs_numbers CHECK (first_number >= 1 AND last_number >= first_number),
        CONSTRAINT ck_label_jobs_label_count CHECK (label_count BETWEEN 1 AND 100000),
        CONSTRAINT ck_label_jobs_drawn CHECK (drawn_count >= 0 AND part_count >= 0 AND file_bytes >= 0),
        CONSTRAINT ck_label_jobs_drawn_through CHECK (drawn_through BETWEEN first_number - 1 AND last_number),
        CONSTRAINT ck_label_jobs_progress CHECK (progress BETWEEN 0 AND 100),
        CONSTRAINT ck_label_jobs_completed CHECK ((status = 'completed') = (progress = 100)),
        CONSTRAINT uq_label_jobs_manufacturer_org_id_id UNIQUE (manufacturer_org_id, id),
        CONSTRAINT fk_label_jobs_manufacturer_org_id_batch_id
            FOREIGN KEY (manufacturer_org_id, batch_id) REFERENCES qr_batches (manufacturer_org_id, id)
    ) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05)
    """,
    """
    CREATE INDEX ix_label_jobs_claim ON label_jobs (manufacturer_org_id, priority DESC, run_at, id)
        WHERE status IN ('queued', 'running')
    """,
    "CREATE INDEX ix_label_jobs_batch_id_id ON label_jobs (batch_id, id)",
    "CREATE INDEX ix_label_jobs_finished_at ON label_jobs (finished_at) WHERE finished_at IS NOT NULL",
    "CREATE INDEX ix_label_jobs_failed ON label_jobs (manufacturer_org_id, finished_at) WHERE status = 'failed'",
    """
    CREATE TABLE label_files (
        job_id uuid,
        part integer,
        content bytea NOT NULL,
        offsets integer[] NOT NULL,
        manufacturer_org_id uuid NOT NULL,
        CONSTRAINT pk_label_files PRIMARY KEY (job_id, part),
        CONSTRAINT fk_label_files_manufacturer_org_id_job_id
            FOREIGN KEY (manufacturer_org_id, job_id) REFERENCES label_jobs (manufacturer_org_id, id) ON DELETE CASCADE
    )
    """,
    """
    CREATE TABLE printed_hosts (
        manufacturer_org_id uuid,
        host text,
        first_printed_at timestamptz DEFAULT now() NOT NULL,
        CONSTRAINT pk_printed_hosts PRIMARY KEY (manufacturer_org_id, host)
    )
    """,
    # A PDF's pages are compressed already: PostgreSQL must not try again.
    "ALTER TABLE label_files ALTER COLUMN content SET STORAGE EXTERNAL",
)

PRINTERS = (
    """
    CREATE TABLE printers (
        id uuid CONSTRAINT pk_printers PRIMARY KEY,
        name text NOT NULL,
        host text NOT NULL,
        port integer NOT NULL,
        ip inet NOT NULL,
        file_format text NOT NULL,
        dpi smallint NOT NULL,
        preset text,
        stations text[] NOT NULL,
        calibration jsonb NOT NULL,
        created_by text NOT NULL,
        created_at timestamptz DEFAULT now() NOT NULL,
        updated_at timestamptz DEFAULT now() NOT NULL,
        manufacturer_org_id uuid NOT NULL,
        CONSTRAINT ck_printers_file_format CHECK (file_format IN ('pdf', 'zpl')),
        CONSTRAINT ck_printers_port CHECK (port BETWEEN 9100 AND 9109),
        CONSTRAINT uq_printers_manufacturer_org_id_name UNIQUE (manufacturer_org_id, name),
        CONSTRAINT uq_printers_manufacturer_org_id_id UNIQUE (manufacturer_org_id, id)
    )
    """,
    """
    CREATE TABLE print_jobs (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_print_jobs PRIMARY KEY,
        printer_id uuid NOT NULL,
        label_job_id uuid,
        batch_id uuid,
        case_id bigint,
        station text,
        reason text,
        sending_at timestamptz,
        sent_bytes bigint DEFAULT 0 NOT NULL,
        created_by text NOT NULL,
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
        CONSTRAINT ck_print_jobs_lease
            CHECK ((status = 'running') = (lease_token IS NOT NULL)
                   AND (lease_token IS NULL) = (lease_expires_at IS NULL)),
        CONSTRAINT ck_print_jobs_finished
            CHECK ((status IN ('completed', 'failed', 'cancelled', 'unknown')) = (finished_at IS NOT NULL)),
        CONSTRAINT ck_print_jobs_attempts CHECK (attempts BETWEEN 0 AND 5000),
        CONSTRAINT ck_print_jobs_priority CHECK (priority BETWEEN 0 AND 9),
        CONSTRAINT ck_print_jobs_status
            CHECK (status IN ('queued', 'running', 'completed', 'failed', 'cancelled', 'unknown')),
        CONSTRAINT ck_print_jobs_what CHECK ((label_job_id IS NULL) = (case_id IS NOT NULL)),
        CONSTRAINT ck_print_jobs_case CHECK ((batch_id IS NULL) = (case_id IS NULL)),
        CONSTRAINT ck_print_jobs_sent
            CHECK (status = 'running' OR (sending_at IS NOT NULL) = (status IN ('completed', 'unknown'))),
        CONSTRAINT ck_print_jobs_sent_bytes CHECK (sent_bytes >= 0),
        CONSTRAINT fk_print_jobs_manufacturer_org_id_printer_id
            FOREIGN KEY (manufacturer_org_id, printer_id) REFERENCES printers (manufacturer_org_id, id)
            ON DELETE CASCADE,
        CONSTRAINT fk_print_jobs_manufacturer_org_id_label_job_id
            FOREIGN KEY (manufacturer_org_id, label_job_id) REFERENCES label_jobs (manufacturer_org_id, id)
            ON DELETE CASCADE,
        CONSTRAINT fk_print_jobs_manufacturer_org_id_batch_id
            FOREIGN KEY (manufacturer_org_id, batch_id) REFERENCES qr_batches (manufacturer_org_id, id),
        CONSTRAINT fk_print_jobs_batch_id_case_id
            FOREIGN KEY (batch_id, case_id) REFERENCES qr_master_codes (batch_id, id)
    ) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05)
    """,
    """
    CREATE INDEX ix_print_jobs_claim ON print_jobs (manufacturer_org_id, priority DESC, run_at, id)
        WHERE status IN ('queued', 'running')
    """,
    "CREATE UNIQUE INDEX uq_print_jobs_running ON print_jobs (printer_id) WHERE status = 'running'",
    "CREATE INDEX ix_print_jobs_live ON print_jobs (printer_id, id) WHERE status IN ('queued', 'running')",
    """
    CREATE UNIQUE INDEX uq_print_jobs_unsent_case ON print_jobs (case_id, printer_id)
        WHERE sending_at IS NULL AND status IN ('queued', 'running') AND case_id IS NOT NULL
    """,
    "CREATE INDEX ix_print_jobs_printer_id_id ON print_jobs (printer_id, id)",
    "CREATE INDEX ix_print_jobs_label_job_id ON print_jobs (label_job_id) WHERE label_job_id IS NOT NULL",
    "CREATE INDEX ix_print_jobs_finished_at ON print_jobs (finished_at) WHERE finished_at IS NOT NULL",
    """
    CREATE INDEX ix_print_jobs_not_printed ON print_jobs (manufacturer_org_id, finished_at)
    WHERE status IN ('failed', 'unknown')
    """,
    "CREATE INDEX ix_print_jobs_case_id_id ON print_jobs (case_id, id) WHERE case_id IS NOT NULL",
)

RIGHTS = {
    "label_formats": "SELECT, INSERT, UPDATE, DELETE",
    "label_jobs": "SELECT, INSERT, UPDATE",
    "label_files": "SELECT, DELETE",
    "printed_hosts": "SELECT, INSERT",
    "printers": "SELECT, INSERT, UPDATE, DELETE",
    "print_jobs": "SELECT, INSERT, UPDATE",
}


def upgrade() -> None:
    for statement in (*LABELS, *PRINTERS):
        op.execute(statement)
    enforce_tenancy(RIGHTS)


def downgrade() -> None:
    op.execute(f"DROP TABLE {', '.join(RIGHTS)}")
