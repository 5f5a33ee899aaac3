"""An organisation with rows in every table of the schema, and sessions as its requests have them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from fanout import FanOut, done, failed
from plant import Plant, ska
from printer import added, ordered, ordered_file
from process import TENANT_ROLE
from qrtrack.database import Database
from qrtrack.domain.labels.documents import FileFormat
from qrtrack.domain.labels.formats import Roll
from qrtrack.domain.notifications import Notify
from qrtrack.domain.requests import RepeatableRequest, StoredAnswer
from qrtrack.models import Table
from qrtrack.services.console_sessions import make_sign_in_code, open_session
from qrtrack.services.labels.label_formats import store_label_format
from qrtrack.services.packing.gtin_owners import claim_prefix
from qrtrack.services.packing.reverse_jobs import cancel_reverse_job

# Which organisation is served next, and what is taken together, is of the service and not of an organisation.
OF_THE_SERVICE = {"leased_groups", "queue_turns"}
TENANT_TABLES = sorted(table.name for table in Table.metadata.sorted_tables if "manufacturer_org_id" in table.columns)
TABLES_OF_ORGANISATIONS = [table for table in TENANT_TABLES if table not in OF_THE_SERVICE]
APPEND_ONLY = ("t_akselgate_events", "trace_events", "webhook_replays")

TRACE = """
INSERT INTO trace_events (manufacturer_org_id, action, actor, batch_id, job_id)
SELECT manufacturer_org_id, 'job.seen', 'test', batch_id, id FROM qr_reverse_jobs WHERE manufacturer_org_id = :org
"""
EVENT = """
INSERT INTO webhook_queue (manufacturer_org_id, type, database_id, uuid, payload, status, finished_at)
VALUES (CAST(:org AS uuid), 'SALES_INVOICE', 7, CAST(CAST(:org AS uuid) AS text), '{}', 'dead', now())
"""
CONFLICT = """
INSERT INTO webhook_conflicts (queue_id, manufacturer_org_id, database_id, content_hash, payload)
SELECT id, manufacturer_org_id, database_id, 'other', '[]' FROM webhook_queue WHERE manufacturer_org_id = :org
"""
DOCUMENT = """
INSERT INTO accurate_documents (manufacturer_org_id, database_id, type, entity_id, event_at, event_id, deleted)
SELECT manufacturer_org_id, database_id, type, '88020', now(), id, false FROM webhook_queue
WHERE manufacturer_org_id = :org
"""
REPLAY = """
INSERT INTO webhook_replays (manufacturer_org_id, actor, selection, event_count) VALUES (:org, 'admin', '{}', 1)
"""
STREAM = """
INSERT INTO webhook_streams (manufacturer_org_id, database_id, type, status) VALUES (:org, 7, 'SALES_INVOICE', 'queued')
"""
TASK = """
INSERT INTO periodic_tasks (manufacturer_org_id, name, status, run_at)
VALUES (CAST(:org AS uuid), CAST(CAST(:org AS uuid) AS text), 'queued', now())
"""
SENDING = """
WITH attempt AS (
    INSERT INTO t_akselgate_transaction_log (id, manufacturer_org_id, transaction_type, kd_settle, request_id,
        attempt_number, total_transaksi, request_payload, payload_sha256, control_sum, outcome, sent_by)
    OVERRIDING SYSTEM VALUE
    SELECT number, :org, 'CA_ESCROW', :settlement, number, 1, 1, '{}', '', 1, 'sending', 'finance'
    FROM nextval('t_akselgate_transaction_log_id_seq') AS number RETURNING id)
SELECT id FROM attempt
"""
ROW = """
INSERT INTO t_akselgate_transaction_rows (attempt_id, manufacturer_org_id, row_number, reference_number, debit_account,
    credit_account, amount, description)
SELECT id, manufacturer_org_id, 1, right(kd_settle, 9), '1000000001', '2000000001', 1, ''
FROM t_akselgate_transaction_log
"""
SWEPT = """
INSERT INTO t_akselgate_events (attempt_id, manufacturer_org_id, kind, actor)
SELECT id, manufacturer_org_id, 'swept', 'sweeper' FROM t_akselgate_transaction_log
"""

CHECK = """
INSERT INTO verifications (manufacturer_org_id, batch_id, sequence_number, purpose, result)
SELECT manufacturer_org_id, id, 1, 'consumer', 'genuine' FROM qr_batches WHERE manufacturer_org_id = :org
"""
REPORT = """
INSERT INTO verification_reports (manufacturer_org_id, batch_id, reason, network)
SELECT manufacturer_org_id, id, 'other', '' FROM qr_batches WHERE manufacturer_org_id = :org
"""
ALERT = """
INSERT INTO verification_alerts (manufacturer_org_id, batch_id, kind)
SELECT manufacturer_org_id, id, 'guessing' FROM qr_batches WHERE manufacturer_org_id = :org
"""
RECALLS = """
INSERT INTO recalls (id, manufacturer_org_id, scope, batch_id, master_code_id, reason, text_en, text_id, unit_count,
    recalled_by)
SELECT gen_random_uuid(), manufacturer_org_id, 'case', batch_id, id, 'glass', 'Return it.', 'Kembalikan.', 3, 'manager'
FROM qr_master_codes WHERE manufacturer_org_id = :org
"""
RECALLED = """
INSERT INTO recalled_codes (manufacturer_org_id, recall_id, batch_id, sequence_number)
SELECT manufacturer_org_id, id, batch_id, 1 FROM recalls WHERE manufacturer_org_id = :org
"""
CHECKED = (CHECK, REPORT, ALERT, RECALLS, RECALLED)


async def fill(plant: Plant) -> None:
    """Stores rows of the plant in every table."""
    organisation_id = plant.caller.organisation_id
    request = RepeatableRequest(organisation_id, "/submit", "key", b"body", lambda _: StoredAnswer(200, {}, "{}"))
    batch = await plant.prepared(10, exclude=ska(1), units_per_case=3)
    await plant.pack(batch)
    prefix = f"{organisation_id.int % 10**12:012}"
    await claim_prefix(plant.runtime.database, caller=plant.caller, prefix=prefix)
    told = await plant.submit(batch, notify=Notify(email="shift@plant.example"))
    await cancel_reverse_job(plant.runtime.database, caller=plant.caller, job_id=told)
    runtime = replace(plant.runtime, database=plant.runtime.database.answering(request))
    await Plant(runtime, plant.caller, plant.order_id).submit(batch)
    label_job_id = await plant.label(batch, first_code=ska(1)[0], last_code=ska(2)[0])
    await plant.work("label_job")
    await open_session(plant.runtime.database, plant.caller, station=None, hours=1)
    await make_sign_in_code(plant.runtime.database, plant.caller)
    await store_label_format(plant.runtime.database, caller=plant.caller, name="mine", label_format=Roll(40.0, 30.0))
    printer_id = await added(plant, "127.0.0.1:9100", file_format=FileFormat.PDF)
    await ordered(plant, printer_id, batch)
    await ordered_file(plant, printer_id, label_job_id)
    fan_out = await FanOut.announce(plant.runtime.database, plant.caller, 3)
    await fan_out.report(done("a") + failed("b"))
    for statement in (TRACE, EVENT, CONFLICT, DOCUMENT, REPLAY, STREAM, TASK, *CHECKED):
        await plant.sql(statement, org=organisation_id)
    async with plant.runtime.database.engine.begin() as connection:
        await become(connection, organisation_id)
        await connection.execute(text(SENDING), {"org": organisation_id, "settlement": f"STL{organisation_id}"})
        await connection.execute(text(ROW))
        await connection.execute(text(SWEPT))


async def become(connection: AsyncConnection, organisation_id: UUID) -> None:
    await connection.execute(text("SELECT set_config('qrtrack.org', :org, true)"), {"org": str(organisation_id)})
    await connection.execute(text(f"SET LOCAL ROLE {TENANT_ROLE}"))


@asynccontextmanager
async def as_request(database: Database, organisation_id: UUID, *, read: bool = False) -> AsyncIterator[AsyncSession]:
    open_ = database.read if read else database.write
    async with open_(tenant=organisation_id) as repositories:
        yield repositories._session


async def writable(plant: Plant, table: str, right: str) -> list[str]:
    """Returns the columns that a request may write with this right (`INSERT` or `UPDATE`), by name."""
    rows = await plant.sql(
        "SELECT attname FROM pg_attribute WHERE attrelid = CAST(:name AS regclass) AND attnum > 0"
        " AND NOT attisdropped AND attidentity <> 'a' AND attgenerated = ''"
        f" AND has_column_privilege('{TENANT_ROLE}', attrelid, attnum, :right) ORDER BY attname",
        name=table,
        right=right,
    )
    return [row.attname for row in rows]
