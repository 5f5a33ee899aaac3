from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import httpx2
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

ClientOf = Callable[..., httpx2.AsyncClient]


@pytest.fixture
async def client_of() -> AsyncIterator[ClientOf]:
    """Makes clients of an application in this process; `runtime` stands where the lifespan would have put it."""
    async with AsyncExitStack() as open_clients:

        def connect(app: ASGIApp, runtime: object = None) -> httpx2.AsyncClient:
            async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
                await app({**scope, "state": {"runtime": runtime}}, receive, send)

            client = httpx2.AsyncClient(transport=httpx2.ASGITransport(with_state), base_url="http://test")
            open_clients.push_async_callback(client.aclose)
            return client

        yield connect
