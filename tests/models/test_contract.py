"""Tables, columns and constraints that people's own SQL relies on."""

import pytest
from sqlalchemy.exc import IntegrityError

from plant import Plant

UUID, TEXT, INT, BIGINT, TIME = "uuid", "text", "integer", "bigint", "timestamp with time zone"
COLUMNS = {
    "qr_batches": {"id": UUID, "uniq_code": TEXT},
    "qr_codes": {
        "id": BIGINT, "batch_id": UUID, "manufacturer_org_id": UUID, "code": TEXT, "sequence_number": INT,
        "variant": TEXT, "root_key_digest": "bytea", "root_key_hash": TEXT, "status": TEXT, "master_code_id": BIGINT,
    },
    "qr_master_codes": {
        "id": BIGINT, "batch_id": UUID, "master_code": TEXT, "case_number": INT, "expected_units": INT,
        "actual_units": INT, "completeness": TEXT, "status": TEXT,
    },
    "qr_reverse_jobs": {
        "id": UUID, "batch_id": UUID, "order_id": UUID, "manufacturer_org_id": UUID, "exclude_codes": "text[]",
        "total_available_in_batch": INT, "remaining_to_prepare": INT, "prepared_count": INT, "status": TEXT,
        "progress": "smallint", "result_summary": "jsonb", "error_message": TEXT, "created_at": TIME,
        "updated_at": TIME,
    },
    "qr_prepared_codes": {
        "id": BIGINT, "job_id": UUID, "batch_id": UUID, "order_id": UUID, "code": TEXT, "sequence_number": INT,
        "status": TEXT, "created_at": TIME, "consumed_at": TIME,
    },
    "webhook_queue": {
        "id": BIGINT, "type": TEXT, "database_id": BIGINT, "uuid": TEXT, "payload": TEXT, "status": TEXT,
        "attempts": "smallint", "error": TEXT, "created_at": TIME, "updated_at": TIME,
    },
    "qr_reverse_job_logs": {"id": BIGINT, "job_id": UUID, "level": TEXT, "message": TEXT, "created_at": TIME},
}  # fmt: skip


@pytest.mark.parametrize("table", COLUMNS)
async def test_a_table_has_the_columns_that_were_promised(plant: Plant, table: str) -> None:
    rows = await plant.sql(
        "SELECT attname, format_type(atttypid, atttypmod) AS type FROM pg_attribute"
        " WHERE attrelid = CAST(:table AS regclass) AND attnum > 0 AND NOT attisdropped",
        table=table,
    )
    found = {row.attname: row.type for row in rows}
    assert {name: found.get(name) for name in COLUMNS[table]} == COLUMNS[table]


async def test_a_code_is_in_the_queue_of_its_batch_once(plant: Plant) -> None:
    (index,) = await plant.sql(
        "SELECT indexdef FROM pg_indexes WHERE tablename = 'qr_prepared_codes' AND indexdef LIKE 'CREATE UNIQUE%WHERE%'"
    )
    assert index.indexdef.endswith("USING btree (order_id, batch_id, code) WHERE (status = 'prepared'::text)")


async def test_events_with_one_uuid_are_stored_once(plant: Plant) -> None:
    (index,) = await plant.sql("SELECT indexdef FROM pg_indexes WHERE indexname = 'idx_webhook_uuid'")
    assert index.indexdef == (
        "CREATE UNIQUE INDEX idx_webhook_uuid ON public.webhook_queue USING btree (uuid) WHERE (uuid IS NOT NULL)"
    )


async def test_a_job_that_is_deleted_takes_its_queue_and_its_log_along(plant: Plant) -> None:
    await plant.prepared(3)
    await plant.sql("DELETE FROM qr_reverse_jobs")
    (left,) = await plant.sql(
        "SELECT (SELECT count(*) FROM qr_prepared_codes) AS queued, (SELECT count(*) FROM qr_reverse_job_logs) AS lines"
    )
    assert (left.queued, left.lines) == (0, 0)


IMPOSSIBLE = {
    "two cases of one number": "UPDATE qr_master_codes SET case_number = 1",
    "two cases of one code": "UPDATE qr_master_codes SET master_code = 'M'",
    "a packed code without a case": "UPDATE qr_codes SET status = 'packed' WHERE sequence_number = 4",
    "a case without end": "UPDATE qr_master_codes SET actual_units = expected_units + 1 WHERE status = 'packed'",
    "an empty case that is packed": "UPDATE qr_master_codes SET actual_units = 0 WHERE status = 'packed'",
    "a job without a list": "UPDATE qr_reverse_jobs SET exclude_codes = NULL",
    "a log line of no level": "UPDATE qr_reverse_job_logs SET level = 'debug'",
    "a prepared code in no state": "UPDATE qr_prepared_codes SET status = 'lost'",
    "a case of another batch": "UPDATE qr_codes SET master_code_id = (SELECT max(id) FROM qr_master_codes)"
    " WHERE sequence_number = 1 AND status = 'packed'",
}


@pytest.mark.parametrize("statement", IMPOSSIBLE.values(), ids=IMPOSSIBLE.keys())
async def test_the_database_refuses_what_cannot_be(plant: Plant, statement: str) -> None:
    made = await plant.prepared(4, units_per_case=2)
    await plant.batch(1)
    await plant.pack(made)
    with pytest.raises(IntegrityError):
        await plant.sql(statement)
