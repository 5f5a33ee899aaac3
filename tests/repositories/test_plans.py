"""Statements over many codes, right after a batch was made: the planner has no statistics of it yet."""

from sqlalchemy import text

from plant import Plant, ska
from qrtrack.domain.packing.selections import BatchSelection
from qrtrack.repositories import Repositories
from qrtrack.repositories.packing.code_creation import Chunk


async def bounded(repositories: Repositories) -> None:
    """A plan that compares each code with each takes minutes; one that looks each up takes milliseconds."""
    await repositories._session.execute(text("SELECT set_config('statement_timeout', '3s', true)"))


async def whole_reads(repositories: Repositories) -> dict[str, int]:
    """How often this connection read each table from end to end, as far as it has not told the statistics yet."""
    found = await repositories._session.execute(text("SELECT relname, seq_scan FROM pg_stat_xact_user_tables"))
    return {row.relname: row.seq_scan for row in found if row.relname.startswith("qr_")}


async def rows_read(repositories: Repositories, table: str = "qr_codes") -> int:
    """How many rows this connection has read, as far as it has not told the statistics yet."""
    found = await repositories._session.scalar(
        text("SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = :table"),
        {"table": table},
    )
    return int(found)


async def test_a_list_of_codes_is_looked_up_without_statistics(plant: Plant) -> None:
    batch = await plant.batch(20_000)
    listed = ska(*range(1, 10_001))
    async with plant.runtime.database.read(tenant=plant.caller.organisation_id) as repositories:
        await bounded(repositories)
        rows = await repositories.codes.find(listed, batch_id=batch.batch_id)
    assert [row.code for row in rows] == listed
    assert not any(row.excluded for row in rows)


async def test_a_batch_is_counted_and_reconciled_without_statistics(plant: Plant) -> None:
    batch = await plant.prepared(20_000, exclude=ska(*range(1, 20_001, 2)))
    async with plant.runtime.database.read(tenant=plant.caller.organisation_id) as repositories:
        await bounded(repositories)
        counted = await repositories.reverse_jobs.count(batch.batch_id, 1, 20_000)
        found = await repositories.reconciliation.count(batch.batch_id)
    assert (counted.total, counted.excluded, counted.duplicates) == (20_000, 10_000, 10_000)
    assert (found.prepared, found.excluded, found.remaining) == (10_000, 10_000, 0)


async def test_a_batch_whose_queue_exceeds_the_memory_of_a_hash_is_counted_and_reconciled(plant: Plant) -> None:
    """As with a million codes and the usual memory: the planner, which has statistics here, then gives up hashing."""
    batch = await plant.prepared(20_000, exclude=ska(*range(1, 20_001, 2)))
    await plant.sql("ANALYZE qr_codes, qr_prepared_codes, qr_excluded_codes")
    async with plant.runtime.database.read(tenant=plant.caller.organisation_id) as repositories:
        await bounded(repositories)
        await repositories._session.execute(text("SELECT set_config('work_mem', '64kB', true)"))
        await repositories._session.execute(text("SELECT set_config('hash_mem_multiplier', '1', true)"))
        counted = await repositories.reverse_jobs.count(batch.batch_id, 1, 20_000)
        found = await repositories.reconciliation.count(batch.batch_id)
    assert (counted.total, counted.excluded, counted.duplicates) == (20_000, 10_000, 10_000)
    assert (found.prepared, found.excluded, found.remaining) == (10_000, 10_000, 0)


async def test_the_missing_codes_of_a_chunk_are_found_in_the_chunk_alone(plant: Plant) -> None:
    batch = await plant.batch(20_000)
    await plant.sql(
        "DELETE FROM qr_codes WHERE batch_id = :id AND sequence_number IN (10001, 10999)", id=batch.batch_id
    )
    await plant.sql("ANALYZE qr_codes")
    async with plant.runtime.database.read() as repositories:
        before = await rows_read(repositories)
        chunk = Chunk(10_001, 11_000, batch.batch_id, plant.caller.organisation_id, "sequential", "SKA", 1, None, 6)
        lacking = await repositories.code_creation.missing(chunk)
        after = await rows_read(repositories)
    assert lacking == [10_001, 10_999]
    assert after - before <= 1_000


async def test_the_list_of_batches_counts_without_reading_a_code(plant: Plant) -> None:
    batch = await plant.prepared(20_000)
    await plant.pack(batch)
    async with plant.runtime.database.read(tenant=plant.caller.organisation_id) as repositories:
        before = await rows_read(repositories)
        [listed] = await repositories.batch_lists.list_with_queues(BatchSelection(), before=None, limit=9)
        after = await rows_read(repositories)
    assert (listed.packed_count, listed.prepared_count, after - before) == (100, 19_900, 0)


async def test_counting_a_queue_stops_where_the_page_stops_counting(plant: Plant) -> None:
    await plant.prepared(20_000)
    # With statistics of another moment, which autovacuum may have taken, the planner sorts the whole queue.
    await plant.sql("ANALYZE qr_prepared_codes")
    async with plant.runtime.database.read(tenant=plant.caller.organisation_id) as repositories:
        before = await rows_read(repositories, "qr_prepared_codes"), await whole_reads(repositories)
        [listed] = await repositories.batch_lists.list_with_queues(
            BatchSelection(), before=None, limit=9, counted_to=1_000
        )
        after = await rows_read(repositories, "qr_prepared_codes"), await whole_reads(repositories)
    assert listed.prepared_count == 1_000
    assert after[0] - before[0] <= 1_000
    assert after[1].get("qr_prepared_codes", 0) == before[1].get("qr_prepared_codes", 0)


async def test_packing_scans_no_whole_table_with_a_plan_made_for_small_tables(
    plant: Plant,
) -> None:
    small = await plant.prepared(4, units_per_case=2)
    await plant.sql("ANALYZE qr_codes, qr_prepared_codes, qr_master_codes, qr_batches, qr_batch_variants")
    await plant.pack(small, 0)
    large = await plant.prepared(20_000)
    async with plant.runtime.database.write(
        tenant=plant.caller.organisation_id, batch_lock=large.batch_id, by_keys=True
    ) as repositories:
        before = await whole_reads(repositories)
        context = await repositories.case_packing.fetch_context(
            large.batch_id, large.order_id, large.master_codes[0], units=100, spare=32
        )
        after = await whole_reads(repositories)
    assert [row.sequence_number for row in context.queue] == list(range(1, 133))
    assert after == before


async def test_no_column_of_a_code_that_changes_is_indexed(plant: Plant) -> None:
    """Hashing, printing and packing rewrite every row; one index over what they change would be written each time."""
    indexed = await plant.sql(
        "SELECT DISTINCT attname FROM pg_index JOIN pg_attribute ON attrelid = indrelid"
        " AND (attnum = ANY(indkey) OR strpos(COALESCE(pg_get_expr(indpred, indrelid), ''), attname) > 0)"
        " WHERE indrelid = 'qr_codes'::regclass ORDER BY 1"
    )
    fixed = ["batch_id", "code", "id", "manufacturer_org_id", "root_key_digest", "sequence_number"]
    assert [row.attname for row in indexed] == fixed


async def test_a_few_excluded_codes_at_the_end_of_a_large_batch_are_found_without_reading_it(plant: Plant) -> None:
    batch = await plant.prepared(20_000, exclude=ska(19_999))
    async with plant.runtime.database.read(tenant=plant.caller.organisation_id) as repositories:
        before = await rows_read(repositories)
        rows = await repositories.codes.list_of_batch(
            batch.batch_id, status="excluded", prefix=None, after=0, limit=100, with_keys=False
        )
        after = await rows_read(repositories)
    assert [row.code for row in rows] == ska(19_999)
    assert after - before < 100


async def test_unlinking_a_case_scans_no_whole_table(plant: Plant) -> None:
    # Without exclusions, PostgreSQL might read the only page of their table for each unit.
    batch = await plant.prepared(20_000, exclude=ska(*range(10_001, 20_001)))
    await plant.pack(batch)
    # In a long run, autovacuum leaves statistics of the small batches of other tests, or of half a batch.
    await plant.sql("ANALYZE qr_codes, qr_prepared_codes, qr_excluded_codes, qr_reverse_jobs")
    async with plant.runtime.database.write(
        tenant=plant.caller.organisation_id, batch_lock=batch.batch_id
    ) as repositories:
        before, rows = await whole_reads(repositories), await rows_read(repositories, "qr_prepared_codes")
        sequences = list(range(1, 101))
        assert await repositories.prepared_codes.requeue(batch.batch_id, sequences) == 100
        assert await repositories.prepared_codes.count_waiting(batch.batch_id, sequences) == 100
        # So it may with the only job.
        after = await whole_reads(repositories) | {"qr_reverse_jobs": before["qr_reverse_jobs"]}
        assert after == before
        assert await rows_read(repositories, "qr_prepared_codes") - rows < 1000


async def test_a_page_of_label_jobs_looks_up_the_ends_of_their_ranges(plant: Plant) -> None:
    batch = await plant.batch(20_000)
    async with plant.runtime.database.read(tenant=plant.caller.organisation_id) as repositories:
        before = await rows_read(repositories)
        codes = await repositories.label_contents.find_codes(batch.batch_id, [1, 2, 20_000, 20_001])
        assert await rows_read(repositories) - before <= 3
    assert codes == dict(zip((1, 2, 20_000), ska(1, 2, 20_000), strict=True))
