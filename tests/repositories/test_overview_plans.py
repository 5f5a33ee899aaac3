"""The overview reads few rows, however much an organisation has stored. Pages ask for it every three seconds."""

from datetime import datetime
from zoneinfo import ZoneInfo

from plant import Plant
from qrtrack.services.overviews import read_overview
from repositories.test_plans import rows_read

JAKARTA = ZoneInfo("Asia/Jakarta")
MANY = 8000
# Yesterday's cases, and work that ended well: none of it is on the overview.
STORED = (
    """
    UPDATE qr_master_codes
    SET status = 'packed', actual_units = 1, completeness = 'inferred', first_sequence = 1, last_sequence = 1,
        packed_at = now() - interval '2 days', station = 'Line 1'
    WHERE case_number > 3
    """,
    """
    INSERT INTO webhook_queue (manufacturer_org_id, type, database_id, uuid, payload, status, finished_at)
    SELECT manufacturer_org_id, 'ITEM', 7, number::text, '', 'done', now()
    FROM qr_batches, generate_series(1, :many) AS number
    """,
    """
    INSERT INTO qr_reverse_jobs (id, manufacturer_org_id, batch_id, order_id, exclude_codes, first_sequence,
                                 last_sequence, next_sequence, status, progress, result_summary, finished_at,
                                 created_by)
    SELECT gen_random_uuid(), manufacturer_org_id, id, order_id, '{}', 1, 1, 2, 'completed', 100, '{}', now(), 'test'
    FROM qr_batches, generate_series(1, :many) AS number
    """,
)
TABLES = ("qr_codes", "qr_master_codes", "qr_reverse_jobs", "webhook_queue", "qr_batch_stages", "trace_events")


async def test_the_overview_reads_few_rows_of_an_organisation_that_has_stored_many(plant: Plant) -> None:
    batch = await plant.prepared(MANY, units_per_case=4)
    for statement in STORED:
        await plant.sql(statement, **({"many": MANY} if ":many" in statement else {}))
    await plant.sql("ANALYZE qr_master_codes, qr_reverse_jobs, webhook_queue, qr_batch_stages, qr_batches")
    now = datetime.now(JAKARTA)
    for case in range(3):
        await plant.pack(batch, case, station="Line 1")
    organisation_id = plant.caller.organisation_id
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    async with plant.runtime.database.read(tenant=organisation_id) as repositories:
        before = {table: await rows_read(repositories, table) for table in TABLES}
        overviews = repositories.overviews
        packed = await overviews.packed(organisation_id, since=midnight, zone=JAKARTA.key)
        queues = await overviews.queues(organisation_id)
        await overviews.running(organisation_id, limit=8)
        await overviews.wanted(organisation_id)
        await overviews.errors(organisation_id, ["reverse_job", "webhook_event"], limit=8)
        read = {table: await rows_read(repositories, table) - before[table] for table in TABLES}
    waiting = sum(queue.queued for queue in queues)
    assert sum(hour.cases for hour in packed) == 3
    assert sum(read.values()) < 100 + 3 * waiting, read
    overview = await read_overview(plant.runtime.database, caller=plant.caller, now=now, owned=())
    assert overview.packed is not None
    assert overview.packed.total == 3
