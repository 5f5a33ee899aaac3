"""Statements over many codes, right after a batch was made: the planner has no statistics of it yet."""

from sqlalchemy import text

from plant import Plant, ska
from qrtrack.repositories import Repositories


async def bounded(repositories: Repositories) -> None:
    """A plan that compares each code with each takes minutes; one that looks each up takes milliseconds."""
    await repositories._session.execute(text("SELECT set_config('statement_timeout', '3s', true)"))


async def test_a_list_of_codes_is_looked_up_without_statistics(plant: Plant) -> None:
    batch = await plant.batch(20_000)
    listed = ska(*range(1, 10_001))
    async with plant.runtime.database.read(tenant=plant.caller.organisation_id) as repositories:
        await bounded(repositories)
        rows = await repositories.codes.find(listed, batch_id=batch.batch_id)
    assert [row.code for row in rows] == listed
    assert all(row.id is not None and not row.excluded for row in rows)


async def test_a_batch_is_counted_and_reconciled_without_statistics(plant: Plant) -> None:
    batch = await plant.prepared(20_000, exclude=ska(*range(1, 20_001, 2)))
    async with plant.runtime.database.read(tenant=plant.caller.organisation_id) as repositories:
        await bounded(repositories)
        counted = await repositories.reverse_jobs.count(batch.batch_id, 1, 20_000)
        found = await repositories.batches.reconcile(batch.batch_id)
    assert (counted.total, counted.excluded, counted.duplicates) == (20_000, 10_000, 10_000)
    assert (found.prepared, found.excluded, found.remaining) == (10_000, 10_000, 0)
