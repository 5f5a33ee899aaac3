"""The release of a batch for sale: once, now or at a time to come."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from plant import Plant, killed_at
from qrtrack.domain.errors import InvalidState, NotFound
from qrtrack.domain.identity import Caller
from qrtrack.repositories.trace import TraceRepository
from qrtrack.repositories.verification.releases import ReleasedBatch, ReleaseRepository
from qrtrack.services.verification.releases import AlreadyReleased, release_batch


async def release(plant: Plant, batch_id: UUID, at: datetime | None = None, **changed: Any) -> ReleasedBatch:
    return await release_batch(
        plant.runtime.database, caller=changed.get("caller", plant.caller), batch_id=batch_id, at=at
    )


async def released_events(plant: Plant) -> list[Any]:
    return list(await plant.sql("SELECT actor, details FROM trace_events WHERE action = 'batch.released' ORDER BY id"))


async def test_a_batch_is_released_once(plant: Plant) -> None:
    batch = await plant.order(1, requires_release=True)
    first, again = await release(plant, batch.batch_id), await release(plant, batch.batch_id)
    assert first == again
    assert first.released_at is not None
    assert (first.released_by, first.released_at <= datetime.now(UTC)) == (plant.caller.user_id, True)
    [event] = await released_events(plant)
    assert datetime.fromisoformat(event.details["released_at"]) == first.released_at
    with pytest.raises(AlreadyReleased, match="recall it"):
        await release(plant, batch.batch_id, first.released_at + timedelta(days=1))


async def test_a_release_to_come_may_be_moved_until_it_has_come(plant: Plant) -> None:
    batch = await plant.order(1, requires_release=True)
    day = datetime.now(UTC) + timedelta(days=30)
    for at in (day, day + timedelta(days=30), day - timedelta(days=1)):
        assert (await release(plant, batch.batch_id, at)).released_at == at
    now = await release(plant, batch.batch_id)
    assert now.released_at is not None
    assert now.released_at < day
    assert len(await released_events(plant)) == 4


async def test_one_of_several_clicks_at_once_releases(plant: Plant) -> None:
    batch = await plant.order(1, requires_release=True)
    people = [Caller(f"user {n}", plant.caller.organisation_id, plant.caller.roles) for n in range(6)]
    told = await asyncio.gather(*(release(plant, batch.batch_id, caller=person) for person in people))
    assert len(set(told)) == 1
    [event] = await released_events(plant)
    assert event.actor == told[0].released_by


async def test_a_batch_that_asks_for_no_release_counts_as_released(plant: Plant) -> None:
    batch = await plant.order(1)
    with pytest.raises(InvalidState, match="counts as released"):
        await release(plant, batch.batch_id)
    assert await plant.sql("SELECT 1 FROM qr_batches WHERE released_at IS NOT NULL") == []


async def test_a_batch_of_another_organisation_is_not_there(plant: Plant) -> None:
    batch = await plant.order(1, requires_release=True)
    with pytest.raises(NotFound):
        await release(plant, batch.batch_id, caller=Caller("stranger", uuid4(), plant.caller.roles))
    assert await plant.sql("SELECT 1 FROM qr_batches WHERE released_at IS NOT NULL") == []


@pytest.mark.parametrize(("owner", "step"), [(ReleaseRepository, "release"), (TraceRepository, "add")])
async def test_a_kill_releases_and_traces_or_does_neither(plant: Plant, owner: type, step: str) -> None:
    batch = await plant.order(1, requires_release=True)
    with killed_at(owner, step, call=1, moment="after") as kill, pytest.raises(Exception, match=r".+"):
        await release(plant, batch.batch_id)
    assert kill.done
    assert await plant.sql("SELECT 1 FROM qr_batches WHERE released_at IS NOT NULL") == []
    assert await released_events(plant) == []
    await release(plant, batch.batch_id)
    assert len(await released_events(plant)) == 1
