"""Batches, codes, cases and reverse jobs."""

from collections.abc import Sequence

from alembic import op

from qrtrack.postgresql.tenancy import enforce_tenancy

revision: str = "0002_packing"
down_revision: str | None = "0001_shared"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# Foreign keys contain the organisation, or the batch, which has one organisation: a row cannot have a parent of another
# organisation. There are no further keys on the parent's id alone, so an inserted code is checked once.
BATCHES = (
    """
    CREATE TABLE qr_batches (
        id uuid CONSTRAINT pk_qr_batches PRIMARY KEY,
        order_id uuid NOT NULL,
        uniq_code text NOT NULL,
        product_name text NOT NULL,
        quantity integer NOT NULL,
        units_per_case integer NOT NULL,
        serial_mode text NOT NULL,
        serial_prefix text,
        first_number bigint,
        random_tail_length integer,
        key_length integer NOT NULL,
        gtin text,
        lot text,
        expires_on date,
        status text NOT NULL,
        items_created integer DEFAULT 0 NOT NULL,
        keys_to_hash integer NOT NULL,
        keys_hashed integer DEFAULT 0 NOT NULL,
        error_message text,
        created_by text NOT NULL,
        created_at timestamptz DEFAULT now() NOT NULL,
        updated_at timestamptz DEFAULT now() NOT NULL,
        codes_created_at timestamptz,
        ready_at timestamptz,
        closed_at timestamptz,
        close_reason text,
        keys_forgotten_at timestamptz,
        manufacturer_org_id uuid NOT NULL,
        notify jsonb,
        requires_release boolean DEFAULT false NOT NULL,
        released_at timestamptz,
        released_by text,
        CONSTRAINT uq_qr_batches_uniq_code UNIQUE (uniq_code),
        CONSTRAINT uq_qr_batches_manufacturer_org_id_id UNIQUE (manufacturer_org_id, id),
        CONSTRAINT ck_qr_batches_first_number CHECK ((serial_mode = 'sequential') = (first_number IS NOT NULL)),
        CONSTRAINT ck_qr_batches_stage
            CHECK (CASE status
                WHEN 'creating' THEN codes_created_at IS NULL
                WHEN 'hashing' THEN codes_created_at IS NOT NULL
                WHEN 'ready' THEN codes_created_at IS NOT NULL AND keys_hashed = keys_to_hash
                ELSE error_message IS NOT NULL END),
        CONSTRAINT ck_qr_batches_serial_mode CHECK (serial_mode IN ('sequential', 'random', 'imported')),
        CONSTRAINT ck_qr_batches_status CHECK (status IN ('creating', 'hashing', 'ready', 'failed')),
        CONSTRAINT ck_qr_batches_codes_created CHECK ((items_created = quantity) = (codes_created_at IS NOT NULL)),
        CONSTRAINT ck_qr_batches_items_created CHECK (items_created BETWEEN 0 AND quantity),
        CONSTRAINT ck_qr_batches_keys_hashed
            CHECK (keys_hashed BETWEEN 0 AND keys_to_hash AND keys_to_hash <= quantity),
        CONSTRAINT ck_qr_batches_quantity CHECK (quantity BETWEEN 1 AND 1000000),
        CONSTRAINT ck_qr_batches_units_per_case CHECK (units_per_case >= 1),
        CONSTRAINT ck_qr_batches_released CHECK ((released_at IS NULL) = (released_by IS NULL))
    ) WITH (fillfactor = 70)
    """,
    "CREATE INDEX ix_qr_batches_manufacturer_org_id_order_id_id ON qr_batches (manufacturer_org_id, order_id, id)",
    "CREATE INDEX ix_qr_batches_failed ON qr_batches (manufacturer_org_id, id) WHERE status = 'failed'",
    # A Digital Link names a GTIN and no batch.
    "CREATE INDEX ix_qr_batches_gtin ON qr_batches (gtin) WHERE gtin IS NOT NULL",
    """
    CREATE TABLE qr_batch_variants (
        batch_id uuid,
        first_sequence integer,
        last_sequence integer NOT NULL,
        variant text,
        queue_head integer NOT NULL,
        manufacturer_org_id uuid NOT NULL,
        CONSTRAINT pk_qr_batch_variants PRIMARY KEY (batch_id, first_sequence),
        CONSTRAINT uq_qr_batch_variants_batch_id_variant UNIQUE NULLS NOT DISTINCT (batch_id, variant),
        CONSTRAINT fk_qr_batch_variants_manufacturer_org_id_batch_id
            FOREIGN KEY (manufacturer_org_id, batch_id) REFERENCES qr_batches (manufacturer_org_id, id),
        CONSTRAINT ck_qr_batch_variants_sequence CHECK (first_sequence >= 1 AND last_sequence >= first_sequence)
    ) WITH (fillfactor = 50)
    """,
    """
    CREATE TABLE qr_batch_stages (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_qr_batch_stages PRIMARY KEY,
        batch_id uuid NOT NULL,
        stage text NOT NULL,
        first_sequence integer NOT NULL,
        last_sequence integer NOT NULL,
        status text NOT NULL,
        priority smallint DEFAULT 0 NOT NULL,
        run_at timestamptz DEFAULT now() NOT NULL,
        attempts smallint DEFAULT 0 NOT NULL,
        lease_token uuid,
        lease_expires_at timestamptz,
        error_message text,
        created_at timestamptz DEFAULT now() NOT NULL,
        updated_at timestamptz DEFAULT now() NOT NULL,
        started_at timestamptz,
        finished_at timestamptz,
        manufacturer_org_id uuid NOT NULL,
        CONSTRAINT uq_qr_batch_stages_batch_id_stage_first_sequence UNIQUE (batch_id, stage, first_sequence),
        CONSTRAINT fk_qr_batch_stages_manufacturer_org_id_batch_id
            FOREIGN KEY (manufacturer_org_id, batch_id) REFERENCES qr_batches (manufacturer_org_id, id),
        CONSTRAINT ck_qr_batch_stages_lease
            CHECK ((status = 'running') = (lease_token IS NOT NULL)
                AND (lease_token IS NULL) = (lease_expires_at IS NULL)),
        CONSTRAINT ck_qr_batch_stages_finished
            CHECK ((status IN ('completed', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
        CONSTRAINT ck_qr_batch_stages_stage CHECK (stage IN ('creating', 'hashing')),
        CONSTRAINT ck_qr_batch_stages_status CHECK (status IN ('queued', 'running', 'completed', 'failed')),
        CONSTRAINT ck_qr_batch_stages_sequence CHECK (first_sequence >= 1 AND last_sequence >= first_sequence),
        CONSTRAINT ck_qr_batch_stages_priority CHECK (priority BETWEEN 0 AND 9),
        CONSTRAINT ck_qr_batch_stages_attempts CHECK (attempts BETWEEN 0 AND 4)
    ) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05)
    """,
    """
    CREATE INDEX ix_qr_batch_stages_creating ON qr_batch_stages (manufacturer_org_id, priority DESC, run_at, id)
        WHERE stage = 'creating' AND status IN ('queued', 'running')
    """,
    """
    CREATE INDEX ix_qr_batch_stages_hashing ON qr_batch_stages (manufacturer_org_id, priority DESC, run_at, id)
        WHERE stage = 'hashing' AND status IN ('queued', 'running')
    """,
    """
    CREATE TABLE qr_serial_counters (
        manufacturer_org_id uuid,
        prefix text,
        last_number bigint DEFAULT 0 NOT NULL,
        random_codes bigint DEFAULT 0 NOT NULL,
        CONSTRAINT pk_qr_serial_counters PRIMARY KEY (manufacturer_org_id, prefix),
        CONSTRAINT ck_qr_serial_counters_counted CHECK (last_number >= 0 AND random_codes >= 0)
    )
    """,
    """
    CREATE TABLE gtin_owners (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_gtin_owners PRIMARY KEY,
        items int8range NOT NULL,
        gtin text,
        prefix text,
        created_by text NOT NULL,
        created_at timestamptz DEFAULT now() NOT NULL,
        manufacturer_org_id uuid NOT NULL,
        CONSTRAINT ex_gtin_owners_items EXCLUDE USING gist (items WITH &&),
        CONSTRAINT uq_gtin_owners_prefix UNIQUE (prefix),
        CONSTRAINT ck_gtin_owners_claimed CHECK ((gtin IS NULL) <> (prefix IS NULL))
    )
    """,
    "CREATE INDEX ix_gtin_owners_manufacturer_org_id ON gtin_owners (manufacturer_org_id) WHERE prefix IS NOT NULL",
)

CODES = (
    """
    CREATE TABLE qr_master_codes (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_qr_master_codes PRIMARY KEY,
        batch_id uuid NOT NULL,
        master_code text NOT NULL,
        case_number integer NOT NULL,
        variant text,
        expected_units integer NOT NULL,
        actual_units integer DEFAULT 0 NOT NULL,
        completeness text,
        status text DEFAULT 'open' NOT NULL,
        first_code text,
        last_code text,
        packed_at timestamptz,
        packed_by text,
        station text,
        created_at timestamptz DEFAULT now() NOT NULL,
        manufacturer_org_id uuid NOT NULL,
        first_sequence integer,
        last_sequence integer,
        CONSTRAINT uq_qr_master_codes_batch_id_case_number UNIQUE (batch_id, case_number),
        CONSTRAINT uq_qr_master_codes_batch_id_id UNIQUE (batch_id, id),
        CONSTRAINT uq_qr_master_codes_manufacturer_org_id_master_code UNIQUE (manufacturer_org_id, master_code),
        CONSTRAINT fk_qr_master_codes_manufacturer_org_id_batch_id
            FOREIGN KEY (manufacturer_org_id, batch_id) REFERENCES qr_batches (manufacturer_org_id, id),
        CONSTRAINT ck_qr_master_codes_open CHECK ((status = 'open') = (actual_units = 0)),
        CONSTRAINT ck_qr_master_codes_packed
            CHECK ((status = 'packed') = (packed_at IS NOT NULL) AND (status = 'packed') = (completeness IS NOT NULL)),
        CONSTRAINT ck_qr_master_codes_completeness CHECK (completeness IN ('verified', 'inferred')),
        CONSTRAINT ck_qr_master_codes_status CHECK (status IN ('open', 'packed')),
        CONSTRAINT ck_qr_master_codes_units
            CHECK (actual_units BETWEEN 0 AND expected_units AND expected_units >= 1),
        CONSTRAINT ck_qr_master_codes_span
            CHECK ((status = 'packed') = (first_sequence IS NOT NULL)
                AND (status = 'packed') = (last_sequence IS NOT NULL))
    ) WITH (fillfactor = 80)
    """,
    """
    CREATE INDEX ix_qr_master_codes_packed ON qr_master_codes (batch_id)
    INCLUDE (manufacturer_org_id, actual_units)
    WHERE actual_units > 0
    """,
    """
    CREATE INDEX ix_qr_master_codes_packed_at ON qr_master_codes (manufacturer_org_id, packed_at)
    WHERE packed_at IS NOT NULL
    """,
    """
    CREATE TABLE qr_codes (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_qr_codes PRIMARY KEY,
        batch_id uuid NOT NULL,
        sequence_number integer NOT NULL,
        code text NOT NULL,
        variant text,
        status text DEFAULT 'generated' NOT NULL,
        master_code_id bigint,
        root_key_digest bytea,
        root_key_sealed bytea,
        root_key_hash text,
        printed_at timestamptz,
        unlinked_at timestamptz,
        voided_at timestamptz,
        void_reason text,
        scanned_at timestamptz,
        redeemed_at timestamptz,
        manufacturer_org_id uuid NOT NULL,
        voided_by_closing boolean DEFAULT false NOT NULL,
        CONSTRAINT uq_qr_codes_batch_id_root_key_digest UNIQUE (batch_id, root_key_digest),
        CONSTRAINT uq_qr_codes_batch_id_sequence_number UNIQUE (batch_id, sequence_number),
        CONSTRAINT uq_qr_codes_manufacturer_org_id_code UNIQUE (manufacturer_org_id, code),
        CONSTRAINT fk_qr_codes_batch_id_master_code_id
            FOREIGN KEY (batch_id, master_code_id) REFERENCES qr_master_codes (batch_id, id),
        CONSTRAINT fk_qr_codes_manufacturer_org_id_batch_id
            FOREIGN KEY (manufacturer_org_id, batch_id) REFERENCES qr_batches (manufacturer_org_id, id),
        CONSTRAINT ck_qr_codes_voided CHECK ((status = 'void') = (voided_at IS NOT NULL)),
        CONSTRAINT ck_qr_codes_parent
            CHECK (CASE
                WHEN status IN ('generated', 'printed', 'void') THEN master_code_id IS NULL
                WHEN status = 'packed' THEN master_code_id IS NOT NULL
                ELSE true END),
        CONSTRAINT ck_qr_codes_status
            CHECK (status IN ('generated', 'printed', 'packed', 'scanned', 'redeemed', 'void')),
        CONSTRAINT ck_qr_codes_voided_by_closing CHECK (NOT voided_by_closing OR status = 'void')
    ) WITH (fillfactor = 45)
    """,
)

JOBS = (
    """
    CREATE TABLE qr_reverse_jobs (
        id uuid CONSTRAINT pk_qr_reverse_jobs PRIMARY KEY,
        batch_id uuid NOT NULL,
        order_id uuid NOT NULL,
        variant text,
        exclude_codes text[] NOT NULL,
        first_sequence integer NOT NULL,
        last_sequence integer NOT NULL,
        next_sequence integer NOT NULL,
        counted_at timestamptz,
        total_available_in_batch integer,
        remaining_to_prepare integer,
        prepared_count integer DEFAULT 0 NOT NULL,
        duplicate_count integer DEFAULT 0 NOT NULL,
        excluded_count integer DEFAULT 0 NOT NULL,
        excluded_already_unavailable integer DEFAULT 0 NOT NULL,
        progress smallint DEFAULT 0 NOT NULL,
        result_summary jsonb,
        created_by text NOT NULL,
        status text NOT NULL,
        priority smallint DEFAULT 0 NOT NULL,
        run_at timestamptz DEFAULT now() NOT NULL,
        attempts smallint DEFAULT 0 NOT NULL,
        lease_token uuid,
        lease_expires_at timestamptz,
        error_message text,
        created_at timestamptz DEFAULT now() NOT NULL,
        updated_at timestamptz DEFAULT now() NOT NULL,
        started_at timestamptz,
        finished_at timestamptz,
        manufacturer_org_id uuid NOT NULL,
        notify jsonb,
        CONSTRAINT uq_qr_reverse_jobs_manufacturer_org_id_id UNIQUE (manufacturer_org_id, id),
        CONSTRAINT uq_qr_reverse_jobs_batch_id_id_manufacturer_org_id UNIQUE (batch_id, id, manufacturer_org_id),
        CONSTRAINT fk_qr_reverse_jobs_manufacturer_org_id_batch_id
            FOREIGN KEY (manufacturer_org_id, batch_id) REFERENCES qr_batches (manufacturer_org_id, id),
        CONSTRAINT ck_qr_reverse_jobs_completed CHECK ((status = 'completed') = (progress = 100)),
        CONSTRAINT ck_qr_reverse_jobs_result CHECK ((status = 'completed') = (result_summary IS NOT NULL)),
        CONSTRAINT ck_qr_reverse_jobs_lease
            CHECK ((status = 'running') = (lease_token IS NOT NULL)
                AND (lease_token IS NULL) = (lease_expires_at IS NULL)),
        CONSTRAINT ck_qr_reverse_jobs_finished
            CHECK ((status IN ('completed', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
        CONSTRAINT ck_qr_reverse_jobs_status
            CHECK (status IN ('queued', 'running', 'completed', 'failed', 'cancelled')),
        CONSTRAINT ck_qr_reverse_jobs_priority CHECK (priority BETWEEN 0 AND 9),
        CONSTRAINT ck_qr_reverse_jobs_progress CHECK (progress BETWEEN 0 AND 100),
        CONSTRAINT ck_qr_reverse_jobs_attempts CHECK (attempts BETWEEN 0 AND 3)
    ) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05)
    """,
    """
    CREATE INDEX ix_qr_reverse_jobs_claim ON qr_reverse_jobs (manufacturer_org_id, priority DESC, run_at, id)
        WHERE status IN ('queued', 'running')
    """,
    "CREATE INDEX ix_qr_reverse_jobs_finished_at ON qr_reverse_jobs (finished_at) WHERE finished_at IS NOT NULL",
    """
    CREATE INDEX ix_qr_reverse_jobs_failed ON qr_reverse_jobs (manufacturer_org_id, finished_at)
    WHERE status = 'failed'
    """,
    """
    CREATE TABLE qr_excluded_codes (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_qr_excluded_codes PRIMARY KEY,
        batch_id uuid NOT NULL,
        sequence_number integer NOT NULL,
        job_id uuid,
        created_at timestamptz DEFAULT now() NOT NULL,
        manufacturer_org_id uuid NOT NULL,
        excluded_by text,
        CONSTRAINT uq_qr_excluded_codes_batch_id_sequence_number_job_id
            UNIQUE NULLS NOT DISTINCT (batch_id, sequence_number, job_id),
        CONSTRAINT fk_qr_excluded_codes_manufacturer_org_id_batch_id
            FOREIGN KEY (manufacturer_org_id, batch_id) REFERENCES qr_batches (manufacturer_org_id, id),
        CONSTRAINT fk_qr_excluded_codes_manufacturer_org_id_batch_id_job_id
            FOREIGN KEY (manufacturer_org_id, batch_id, job_id)
            REFERENCES qr_reverse_jobs (manufacturer_org_id, batch_id, id) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX ix_qr_excluded_codes_job_id ON qr_excluded_codes (job_id)",
    """
    CREATE TABLE qr_prepared_codes (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_qr_prepared_codes PRIMARY KEY,
        job_id uuid NOT NULL,
        batch_id uuid NOT NULL,
        order_id uuid NOT NULL,
        sequence_number integer NOT NULL,
        code text NOT NULL,
        status text DEFAULT 'prepared' NOT NULL,
        created_at timestamptz DEFAULT now() NOT NULL,
        consumed_at timestamptz,
        manufacturer_org_id uuid NOT NULL,
        CONSTRAINT fk_qr_prepared_codes_manufacturer_org_id_batch_id_job_id
            FOREIGN KEY (manufacturer_org_id, batch_id, job_id)
            REFERENCES qr_reverse_jobs (manufacturer_org_id, batch_id, id) ON DELETE CASCADE,
        CONSTRAINT ck_qr_prepared_codes_consumed CHECK ((status = 'consumed') = (consumed_at IS NOT NULL)),
        CONSTRAINT ck_qr_prepared_codes_status CHECK (status IN ('prepared', 'consumed', 'invalid'))
    ) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05)
    """,
    "CREATE INDEX ix_qr_prepared_codes_job_id_id ON qr_prepared_codes (job_id, id)",
    """
    CREATE INDEX ix_qr_prepared_codes_queue ON qr_prepared_codes (batch_id, sequence_number)
        WHERE status = 'prepared'
    """,
    """
    CREATE UNIQUE INDEX uq_qr_prepared_codes_prepared ON qr_prepared_codes (order_id, batch_id, code)
        WHERE status = 'prepared'
    """,
    """
    CREATE INDEX ix_qr_prepared_codes_consumed ON qr_prepared_codes (batch_id, sequence_number)
        WHERE status = 'consumed'
    """,
    """
    CREATE TABLE qr_reverse_job_logs (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_qr_reverse_job_logs PRIMARY KEY,
        job_id uuid NOT NULL,
        level text NOT NULL,
        message text NOT NULL,
        created_at timestamptz DEFAULT now() NOT NULL,
        manufacturer_org_id uuid NOT NULL,
        CONSTRAINT fk_qr_reverse_job_logs_manufacturer_org_id_job_id
            FOREIGN KEY (manufacturer_org_id, job_id)
            REFERENCES qr_reverse_jobs (manufacturer_org_id, id) ON DELETE CASCADE,
        CONSTRAINT ck_qr_reverse_job_logs_level CHECK (level IN ('info', 'warn', 'error'))
    )
    """,
    "CREATE INDEX ix_qr_reverse_job_logs_job_id_id ON qr_reverse_job_logs (job_id, id)",
)

# A trigger writes the notification in the transaction that ends the job or batch, whichever statement ends it: no
# caller can forget the notification. The functions run with the rights of the tables' owner, as announce_end does.
TRIGGERS = (
    """
    CREATE FUNCTION announce_end_of_job() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    BEGIN
        PERFORM announce_end(NEW.manufacturer_org_id, 'reverse_job', NEW.id, NEW.notify, jsonb_build_object(
            'status', NEW.status, 'batch_id', NEW.batch_id, 'order_id', NEW.order_id,
            'result_summary', NEW.result_summary, 'error_message', NEW.error_message));
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER announce_end AFTER UPDATE OF status ON qr_reverse_jobs FOR EACH ROW
    WHEN (NEW.notify IS NOT NULL AND NEW.status IN ('completed', 'failed', 'cancelled') AND OLD.status <> NEW.status)
    EXECUTE FUNCTION announce_end_of_job()
    """,
    """
    CREATE FUNCTION announce_end_of_batch() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    BEGIN
        PERFORM announce_end(NEW.manufacturer_org_id, 'batch', NEW.id, NEW.notify, jsonb_build_object(
            'status', NEW.status, 'order_id', NEW.order_id, 'quantity', NEW.quantity,
            'error_message', NEW.error_message));
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER announce_end AFTER UPDATE OF status ON qr_batches FOR EACH ROW
    WHEN (NEW.notify IS NOT NULL AND NEW.status IN ('ready', 'failed') AND OLD.status <> NEW.status)
    EXECUTE FUNCTION announce_end_of_batch()
    """,
)

RIGHTS = {
    "qr_batches": "SELECT, INSERT, UPDATE",
    "qr_batch_variants": "SELECT, INSERT, UPDATE",
    "qr_batch_stages": "SELECT, INSERT, UPDATE",
    "qr_serial_counters": "SELECT, INSERT, UPDATE",
    "gtin_owners": "SELECT, INSERT, UPDATE, DELETE",
    "qr_codes": "SELECT, INSERT, UPDATE",
    "qr_excluded_codes": "SELECT, INSERT, DELETE",
    "qr_master_codes": "SELECT, INSERT, UPDATE",
    "qr_reverse_jobs": "SELECT, INSERT, UPDATE",
    "qr_prepared_codes": "SELECT, INSERT, UPDATE, DELETE",
    "qr_reverse_job_logs": "SELECT, INSERT",
}


def upgrade() -> None:
    for statement in (*BATCHES, *CODES, *JOBS, *TRIGGERS):
        op.execute(statement)
    enforce_tenancy(RIGHTS)


def downgrade() -> None:
    op.execute(f"DROP TABLE {', '.join(RIGHTS)}")
    op.execute("DROP FUNCTION announce_end_of_job(), announce_end_of_batch()")
