"""A request that is sent again takes effect once: key, effect and answer commit together, or none of them."""

import asyncio
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from plant import MadeBatch, Plant, ska
from qrtrack.domain.identity import Caller
from qrtrack.domain.packing.case_packing import NotEnoughPrepared
from qrtrack.domain.requests import (
    MOST_ANSWER_CHARACTERS,
    AlreadyAnswered,
    AnswerTooLong,
    KeyReused,
    RepeatableRequest,
    StillRunning,
    StoredAnswer,
)
from qrtrack.repositories.packing.case_packing import CasePackingRepository
from qrtrack.services.packing.case_packing import PackedCase


def request(plant: Plant, key: str = "once", body: bytes = b"body", route: str = "/pack") -> RepeatableRequest:
    def render(result: Any) -> StoredAnswer:
        return StoredAnswer(200, {"Location": "/here"}, ",".join(result.linked_codes))

    return RepeatableRequest(plant.caller.organisation_id, route, key, body, render)


async def pack(
    plant: Plant, batch: MadeBatch, repeatable: RepeatableRequest, case: int = 0, **asked: Any
) -> PackedCase:
    runtime = replace(plant.runtime, database=plant.runtime.database.answering(repeatable))
    return await Plant(runtime, plant.caller, plant.order_id).pack(batch, case)


async def test_a_repeated_request_gets_the_first_answer(plant: Plant) -> None:
    batch = await plant.prepared(30, units_per_case=10)
    await pack(plant, batch, request(plant))
    with pytest.raises(AlreadyAnswered) as again:
        await pack(plant, batch, request(plant))
    assert again.value.stored == StoredAnswer(200, {"Location": "/here"}, ",".join(ska(*range(1, 11))))
    assert len(await plant.queue(batch)) == 20


async def test_twenty_at_once_have_one_effect(plant: Plant) -> None:
    batch = await plant.prepared(300, units_per_case=10)
    ends = await asyncio.gather(*(pack(plant, batch, request(plant)) for _ in range(20)), return_exceptions=True)
    assert sum(isinstance(end, PackedCase) for end in ends) == 1
    assert all(isinstance(end, PackedCase | AlreadyAnswered | StillRunning) for end in ends)
    assert len(await plant.queue(batch)) == 290
    assert len(await plant.events(batch, "case.packed")) == 1


async def test_twenty_at_once_without_a_common_lock_have_one_effect(plant: Plant) -> None:
    batch = await plant.prepared(10)
    await plant.pack(batch)
    repeatables = [replace(request(plant), render=lambda _: StoredAnswer(200, {}, "done")) for _ in range(20)]
    plants = [
        Plant(replace(plant.runtime, database=plant.runtime.database.answering(repeatable)), plant.caller)
        for repeatable in repeatables
    ]
    ends = await asyncio.gather(*(each.unlink(ska(3)) for each in plants), return_exceptions=True)
    assert sum(not isinstance(end, BaseException) for end in ends) == 1
    assert all(isinstance(end, AlreadyAnswered | StillRunning) for end in ends if isinstance(end, BaseException))
    assert len(await plant.events(batch, "codes.unlinked")) == 1


async def test_an_answer_too_long_to_be_kept_undoes_the_effect_and_leaves_no_key(plant: Plant) -> None:
    batch = await plant.prepared(30, units_per_case=10)
    longest = replace(request(plant), render=lambda _: StoredAnswer(200, {}, "x" * MOST_ANSWER_CHARACTERS))
    longer = replace(request(plant), render=lambda _: StoredAnswer(200, {}, "x" * (MOST_ANSWER_CHARACTERS + 1)))
    with pytest.raises(AnswerTooLong):
        await pack(plant, batch, longer)
    assert len(await plant.queue(batch)) == 30
    await pack(plant, batch, longest)
    assert len(await plant.queue(batch)) == 20


async def test_another_body_under_the_same_key_is_refused(plant: Plant) -> None:
    batch = await plant.prepared(30, units_per_case=10)
    await pack(plant, batch, request(plant))
    with pytest.raises(KeyReused):
        await pack(plant, batch, request(plant, body=b"other"), case=1)
    assert len(await plant.queue(batch)) == 20


async def test_a_key_is_good_for_one_route_and_one_organisation(plant: Plant) -> None:
    batch = await plant.prepared(30, units_per_case=10)
    await pack(plant, batch, request(plant))
    await pack(plant, batch, request(plant, route="/other"), case=1)
    stranger = Plant(plant.runtime, Caller("stranger", uuid4(), plant.caller.roles))
    theirs = await stranger.prepared(10)
    await pack(stranger, theirs, request(stranger))


async def test_a_refused_request_leaves_no_key_and_may_come_again(plant: Plant) -> None:
    batch = await plant.batch(10, units_per_case=10)
    repeatable = request(plant)
    with pytest.raises(NotEnoughPrepared):
        await pack(plant, batch, repeatable)
    assert await plant.sql("SELECT key FROM idempotency_keys") == []
    await plant.submit(batch)
    await plant.work("reverse_job")
    await pack(plant, batch, request(plant))
    assert [row.key for row in await plant.sql("SELECT key FROM idempotency_keys")] == ["once"]


async def test_an_effect_that_is_rolled_back_takes_its_key_along(plant: Plant) -> None:
    batch = await plant.prepared(30, units_per_case=10)

    def fail(_: object) -> StoredAnswer:
        raise RuntimeError("the answer cannot be written down")

    with pytest.raises(RuntimeError):
        await pack(plant, batch, replace(request(plant), render=fail))
    assert await plant.sql("SELECT key FROM idempotency_keys") == []
    assert len(await plant.queue(batch)) == 30


async def test_a_request_that_met_a_taken_unit_may_be_repeated_with_its_key(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = await plant.prepared(30, units_per_case=10)
    write = CasePackingRepository.pack
    tries: list[object] = []

    async def second_time(self: CasePackingRepository, packing: Any) -> bool:
        tries.append(packing)
        return len(tries) > 1 and await write(self, packing)

    monkeypatch.setattr(CasePackingRepository, "pack", second_time)
    await pack(plant, batch, request(plant))
    with pytest.raises(AlreadyAnswered):
        await pack(plant, batch, request(plant))
    assert len(tries) == 2
