"""The attacker and the honest crowd of the specification, in full size."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import httpx2
import pytest
from starlette.types import Receive, Scope, Send

import promised
from consumer import Consumer
from guessing import crowd, metric, walk
from plant import Plant
from process import settings_of
from qrtrack.runtime import Runtime
from qrtrack.settings import Settings


@pytest.fixture
def settings(migrated_url: str, tmp_path: Path) -> Settings:
    return settings_of(migrated_url, tmp_path, trusted_proxies=1)


@pytest.fixture
async def new_consumer(runtime: Runtime) -> AsyncIterator[Callable[[], Consumer]]:
    """As tests/routers makes them, but answers are not compared with the contract: that takes longer than they do."""
    app = promised.application()

    async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "state": {"runtime": runtime}}, receive, send)

    async with AsyncExitStack() as browsers:

        def connect() -> Consumer:
            client = httpx2.AsyncClient(transport=httpx2.ASGITransport(with_state), base_url="http://test")
            browsers.push_async_callback(client.aclose)
            return Consumer(client)

        yield connect


async def test_one_client_walking_ten_thousand_codes_has_sixty_tries_an_hour(
    plant: Plant, new_consumer: Callable[[], Consumer]
) -> None:
    batch = await plant.batch(10_000)
    before = metric("qrtrack_verifications_refused_total")
    assert await walk(new_consumer(), batch, 10_000) == {200: 60, 429: 9_940}
    assert metric("qrtrack_verifications_refused_total") == before + 9_940


async def test_two_thousand_honest_clients_behind_one_address_are_never_refused(
    plant: Plant, new_consumer: Callable[[], Consumer]
) -> None:
    batch = await plant.batch(2_000)
    assert await crowd(plant, new_consumer, batch, 2_000, at_a_time=30) == {"unknown": 2_000, "genuine": 2_000}
    assert await plant.sql("SELECT 1 FROM verification_failures") == []
