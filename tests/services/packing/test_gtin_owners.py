"""A GTIN and a company prefix belong to one organisation, whoever claims them at the same moment."""

import asyncio
import io
from uuid import uuid4

import pytest

from plant import Plant
from qrtrack.domain.errors import InvalidInput, InvalidState, NotFound
from qrtrack.domain.identity import Caller
from qrtrack.domain.packing.gtin_owners import GtinTaken, PrefixTaken, TooManyPrefixes
from qrtrack.domain.packing.imports import read_codes
from qrtrack.services.packing.gtin_owners import (
    claim_gtin,
    claim_prefix,
    delete_prefix,
    find_owner,
    move_to,
)
from qrtrack.services.packing.imports import BatchImport, import_batch

# 400638133393 is the item of both; the second is its outer pack.
GTIN, OUTER, PREFIX = "04006381333931", "14006381333938", "4006381"
UNRELATED = "08991234567891"


@pytest.fixture
def neighbour(plant: Plant) -> Plant:
    return Plant(plant.runtime, Caller("neighbour", uuid4(), plant.caller.roles))


async def claim(plant: Plant, prefix: str = PREFIX) -> None:
    await claim_prefix(plant.runtime.database, caller=plant.caller, prefix=prefix)


async def prefixes(plant: Plant) -> list[str]:
    async with plant.read() as repositories:
        return [row.prefix for row in await repositories.gtin_owners.list_prefixes(plant.caller.organisation_id)]


async def until_one_waits(plant: Plant) -> None:
    """Until a transaction waits for another one."""
    waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    while not await plant.sql(waiting):
        await asyncio.sleep(0.01)


async def test_the_first_batch_with_a_gtin_claims_it(plant: Plant, neighbour: Plant) -> None:
    await plant.order(1, gtin=GTIN)
    await plant.order(1, gtin=GTIN)
    for gtin in (GTIN, OUTER):
        with pytest.raises(GtinTaken, match="ask the operator of the service to move it"):
            await neighbour.order(1, gtin=gtin)
    await neighbour.order(1, gtin=UNRELATED)
    batches = await plant.sql("SELECT manufacturer_org_id FROM qr_batches WHERE gtin IN (:gtin, :outer)",
                              gtin=GTIN, outer=OUTER)  # fmt: skip
    assert {row.manufacturer_org_id for row in batches} == {plant.caller.organisation_id}


async def test_an_import_claims_it_too_or_is_refused_whole(plant: Plant, neighbour: Plant) -> None:
    async def imported(plant: Plant) -> None:
        new = BatchImport(plant.order_id, "Old gold", 10, GTIN, None)
        codes = read_codes(io.BytesIO(b"code\nOLD-1\n"))
        await import_batch(
            plant.runtime.database, caller=plant.caller, keys=plant.runtime.keys, new=new, imported=codes
        )

    await imported(plant)
    with pytest.raises(GtinTaken):
        await imported(neighbour)
    assert len(await plant.sql("SELECT 1 FROM qr_codes WHERE code = 'OLD-1'")) == 1


async def test_one_of_six_organisations_that_claim_a_gtin_at_once_gets_it(plant: Plant) -> None:
    plants = [Plant(plant.runtime, Caller(f"user {n}", uuid4(), plant.caller.roles)) for n in range(6)]
    done = await asyncio.gather(*(one.order(1, gtin=GTIN) for one in plants), return_exceptions=True)
    assert sorted(type(one).__name__ for one in done) == ["CreatedBatch"] + ["GtinTaken"] * 5
    [batch] = await plant.sql("SELECT manufacturer_org_id FROM qr_batches WHERE gtin = :gtin", gtin=GTIN)
    [owner] = await plant.sql("SELECT manufacturer_org_id FROM gtin_owners")
    assert batch == owner


@pytest.mark.parametrize("commits", [True, False])
async def test_a_claim_waits_for_the_one_before_it(plant: Plant, neighbour: Plant, *, commits: bool) -> None:
    """The first claims the GTIN, the second the prefix. A transaction that ends in an error has claimed nothing."""

    async def first() -> None:
        async with plant.runtime.database.write(tenant=plant.caller.organisation_id) as repositories:
            await claim_gtin(repositories, plant.caller, GTIN)
            begun.set()
            await until_one_waits(plant)
            if not commits:
                raise InvalidState("undone")

    begun = asyncio.Event()
    earlier = asyncio.create_task(first())
    await begun.wait()
    if commits:
        with pytest.raises(PrefixTaken):
            await claim(neighbour)
        await earlier
    else:
        await claim(neighbour)
        with pytest.raises(InvalidState, match="undone"):
            await earlier
        with pytest.raises(GtinTaken):
            await plant.order(1, gtin=GTIN)


async def test_a_gtin_of_another_organisations_prefix_is_refused(plant: Plant, neighbour: Plant) -> None:
    await claim(plant)
    await claim(plant)
    await plant.order(1, gtin=GTIN)
    with pytest.raises(GtinTaken):
        await neighbour.order(1, gtin=GTIN)
    assert await prefixes(plant) == [PREFIX]
    assert await prefixes(neighbour) == []
    assert len(await plant.sql("SELECT 1 FROM gtin_owners")) == 1, "the prefix covers the GTIN"
    [event] = await plant.sql("SELECT details, actor FROM trace_events WHERE action = 'company_prefix.claimed'")
    assert (event.details, event.actor) == ({"prefix": PREFIX}, plant.caller.user_id)


@pytest.mark.parametrize("prefix", [PREFIX, "4006", "400638133393"])
async def test_a_prefix_with_a_gtin_or_a_prefix_of_another_organisation_is_refused(
    plant: Plant, neighbour: Plant, prefix: str
) -> None:
    await plant.order(1, gtin=GTIN)
    with pytest.raises(PrefixTaken, match="ask the operator of the service"):
        await claim(neighbour, prefix)
    await claim(plant)
    with pytest.raises(PrefixTaken, match="ask the operator of the service"):
        await claim(neighbour, prefix)
    assert await plant.sql("SELECT 1 FROM gtin_owners WHERE manufacturer_org_id = :id",
                           id=neighbour.caller.organisation_id) == []  # fmt: skip


async def test_ones_own_prefixes_may_not_overlap(plant: Plant) -> None:
    await claim(plant)
    for prefix in ("4006", "40063813"):
        with pytest.raises(PrefixTaken, match=f"overlaps with {PREFIX}, which your organisation has"):
            await claim(plant, prefix)


async def test_one_of_six_organisations_that_claim_a_prefix_at_once_gets_it(plant: Plant) -> None:
    plants = [Plant(plant.runtime, Caller(f"user {n}", uuid4(), plant.caller.roles)) for n in range(6)]
    prefixes = [PREFIX, "4006", "400638133393"] * 2
    done = await asyncio.gather(*map(claim, plants, prefixes), return_exceptions=True)
    assert sum(one is None for one in done) == 1
    assert sum(isinstance(one, PrefixTaken) for one in done) == 5


async def test_a_prefix_absorbs_a_gtin_that_the_organisation_claims_at_the_same_moment(plant: Plant) -> None:
    async def first() -> None:
        async with plant.runtime.database.write(tenant=plant.caller.organisation_id) as repositories:
            await claim_gtin(repositories, plant.caller, GTIN)
            begun.set()
            await until_one_waits(plant)

    begun = asyncio.Event()
    earlier = asyncio.create_task(first())
    await begun.wait()
    await claim(plant)
    await earlier
    assert [row.prefix for row in await plant.sql("SELECT prefix FROM gtin_owners")] == [PREFIX]


async def test_the_gtins_of_batches_stay_after_their_prefix(plant: Plant, neighbour: Plant) -> None:
    """Also that of a batch whose transaction is open while the prefix is deleted."""

    async def first() -> None:
        async with plant.runtime.database.write(tenant=plant.caller.organisation_id) as repositories:
            await claim_gtin(repositories, plant.caller, second)
            await repositories.batches._execute("UPDATE qr_batches SET gtin = :gtin WHERE gtin = :unrelated",
                                                gtin=second, unrelated=UNRELATED)  # fmt: skip
            begun.set()
            await until_one_waits(plant)

    second = "04006381333948"
    await plant.order(1, gtin=UNRELATED)
    await claim(plant)
    for gtin in (GTIN, OUTER):
        await plant.order(1, gtin=gtin)
    begun = asyncio.Event()
    earlier = asyncio.create_task(first())
    await begun.wait()
    await delete_prefix(plant.runtime.database, caller=plant.caller, prefix=PREFIX)
    await earlier
    for gtin in (GTIN, OUTER, second):
        with pytest.raises(GtinTaken):
            await neighbour.order(1, gtin=gtin)
    await neighbour.order(1, gtin="04006381333955")
    with pytest.raises(NotFound):
        await delete_prefix(plant.runtime.database, caller=plant.caller, prefix=PREFIX)


async def test_a_prefix_of_another_organisation_cannot_be_deleted(plant: Plant, neighbour: Plant) -> None:
    await claim(plant)
    with pytest.raises(NotFound):
        await delete_prefix(plant.runtime.database, caller=neighbour.caller, prefix=PREFIX)
    assert len(await prefixes(plant)) == 1


async def test_an_organisation_has_so_many_prefixes_at_most(plant: Plant) -> None:
    await plant.sql(
        "INSERT INTO gtin_owners (items, prefix, created_by, manufacturer_org_id)"
        " SELECT int8range(n * 1000, n * 1000, '[]'), lpad(n::text, 9, '0'), 'test', :id"
        " FROM generate_series(1, 100) AS n",
        id=plant.caller.organisation_id,
    )
    with pytest.raises(TooManyPrefixes):
        await claim(plant)


async def test_a_gtin_and_a_prefix_are_moved_to_another_organisation(plant: Plant, neighbour: Plant) -> None:
    database, to = plant.runtime.database, neighbour.caller.organisation_id
    await plant.order(1, gtin=GTIN)
    await claim(plant, "8991234")
    found = await find_owner(database, gtin="4006381333931", prefix=None)
    assert (found.owner, found.batches) == (plant.caller.organisation_id, 1)
    for _ in range(2):
        await move_to(database, gtin=GTIN, prefix=None, to=to)
    with pytest.raises(InvalidState, match="has the prefix 8991234, not the GTIN 08991234567891 by itself"):
        await move_to(database, gtin=UNRELATED, prefix=None, to=to)
    with pytest.raises(InvalidState, match="has the prefix 8991234, not the prefix 8991 by itself"):
        await move_to(database, gtin=None, prefix="8991", to=to)
    await move_to(database, gtin=None, prefix="8991234", to=to)
    for gtin in (GTIN, UNRELATED):
        await neighbour.order(1, gtin=gtin)
        with pytest.raises(GtinTaken):
            await plant.order(1, gtin=gtin)
    events = await plant.sql("SELECT manufacturer_org_id AS org, details FROM trace_events WHERE action = 'gtin.moved'")
    assert [(event.org == to, event.details["is_own"]) for event in events] == [(False, False), (True, True)] * 2


async def test_a_gtin_without_an_owner_cannot_be_moved(plant: Plant) -> None:
    database, to = plant.runtime.database, uuid4()
    with pytest.raises(NotFound, match="No organisation has claimed the GTIN 4006381333931"):
        await move_to(database, gtin="4006381333931", prefix=None, to=to)
    with pytest.raises(InvalidInput, match="check digit"):
        await find_owner(database, gtin="4006381333932", prefix=None)
    with pytest.raises(InvalidInput, match="4 to 12 digits"):
        await find_owner(database, gtin=None, prefix="40x")
