"""Clients that guess keys, and honest clients behind the same address."""

import asyncio
from collections import Counter
from collections.abc import Callable

from prometheus_client import REGISTRY

from consumer import Consumer, root_key, wrong
from plant import MadeBatch, Plant, ska


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def walk(consumer: Consumer, batch: MadeBatch, codes: int) -> Counter[int]:
    """Tries the same key on each of the first `codes` codes. Counts the answers by status."""
    statuses: Counter[int] = Counter()
    for number in range(1, codes + 1):
        answer = await consumer.post("/api/verify", uniq_code=batch.uniq_code, root_key="AAAA", code=ska(number)[0])
        statuses[answer.status_code] += 1
    return statuses


async def crowd(
    plant: Plant, new_consumer: Callable[[], Consumer], batch: MadeBatch, clients: int, *, at_a_time: int
) -> Counter[str]:
    """Lets honest clients behind one address each send a mistyped key and then the right one. Counts the results."""
    results: Counter[str] = Counter()
    places = asyncio.Semaphore(at_a_time)

    async def check(number: int) -> None:
        async with places:
            key, person = await root_key(plant, batch, number), new_consumer()
            for typed in (wrong(key), key):
                answer = await person.verify(batch, typed, number)
                results[answer.json().get("result", str(answer.status_code))] += 1

    await asyncio.gather(*(check(number) for number in range(1, clients + 1)))
    return results
