"""Releases and recalls as consumers meet them: a check answers at once."""

from typing import Any

import httpx2
import pytest

from consumer import Consumer, root_key
from plant import MadeBatch, Plant, ska
from routers.verification.conftest import NewConsumer

API = "/api/manufacturer"
TEXTS = {"reason": "Glass", "text_en": "Bring it back.", "text_id": "Kembalikan."}


async def recall(client: httpx2.AsyncClient, **what: Any) -> str:
    answer = await client.post(f"{API}/recall", json=TEXTS | what)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["recall_id"])


async def lift(client: httpx2.AsyncClient, recall_id: str) -> None:
    answer = await client.post(f"{API}/recall/lift", json={"recall_id": recall_id, "reason": "No glass"})
    assert answer.status_code == 200, answer.text


async def test_a_unit_is_genuine_for_the_first_time_after_the_release(
    client: httpx2.AsyncClient, plant: Plant, consumer: Consumer, new_consumer: NewConsumer
) -> None:
    batch = await plant.batch(2, requires_release=True)
    key = await root_key(plant, batch, 1)
    assert await consumer.result(batch, key) == "not_released"
    later = {"at": "2099-01-31T08:00:00Z"}
    assert (await client.post(f"{API}/batches/{batch.batch_id}/release", json=later)).status_code == 200
    assert await new_consumer().result(batch, key) == "not_released"
    assert await plant.states(batch) == {1: "generated", 2: "generated"}
    assert (await client.post(f"{API}/batches/{batch.batch_id}/release")).status_code == 200
    assert await new_consumer().result(batch, key) == "genuine"


async def made(plant: Plant) -> MadeBatch:
    """Four units; the first two in a case."""
    batch = await plant.prepared(4, units_per_case=2)
    await plant.pack(batch)
    return batch


@pytest.mark.parametrize("what", ["batch", "case", "codes"])
async def test_a_recall_outranks_genuine_until_it_is_lifted(
    client: httpx2.AsyncClient, plant: Plant, consumer: Consumer, new_consumer: NewConsumer, what: str
) -> None:
    batch = await made(plant)
    key = await root_key(plant, batch, 1)
    what_is: dict[str, dict[str, Any]] = {
        "batch": {"batch_id": str(batch.batch_id)}, "case": {"master_code": batch.master_codes[0]},
        "codes": {"codes": ska(1)},
    }  # fmt: skip
    named = what_is[what]
    recall_id = await recall(client, **named)
    told = (await consumer.verify(batch, key)).json()
    assert (told["result"], TEXTS["text_en"] in str(told)) == ("recalled", True)
    assert (await new_consumer().result(batch, await root_key(plant, batch, 4), 4)) == (
        "recalled" if what == "batch" else "genuine"
    )
    await lift(client, recall_id)
    assert await new_consumer().result(batch, key) == "genuine"
    await recall(client, **named)
    assert await new_consumer().result(batch, key) == "recalled"


async def test_a_unit_that_was_taken_out_of_a_recalled_case_is_recalled(
    client: httpx2.AsyncClient, plant: Plant, consumer: Consumer, new_consumer: NewConsumer
) -> None:
    batch = await made(plant)
    await recall(client, master_code=batch.master_codes[0])
    await plant.unlink(ska(1))
    await plant.move(batch, 0, 1)
    assert await consumer.result(batch, await root_key(plant, batch, 1), 1) == "recalled"
    assert await new_consumer().result(batch, await root_key(plant, batch, 2), 2) == "recalled"


async def test_two_recalls_hold_until_both_are_lifted(
    client: httpx2.AsyncClient, plant: Plant, new_consumer: NewConsumer
) -> None:
    batch = await made(plant)
    key = await root_key(plant, batch, 1)
    first = await recall(client, batch_id=str(batch.batch_id))
    second = await recall(client, codes=ska(1), text_en="Newer text.")
    assert "Newer text." in (await new_consumer().verify(batch, key)).text
    await lift(client, second)
    assert TEXTS["text_en"] in (await new_consumer().verify(batch, key)).text
    await lift(client, first)
    assert await new_consumer().result(batch, key) == "genuine"
