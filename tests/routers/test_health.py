from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from qrtrack.domain.errors import Unavailable
from qrtrack.routers import health
from qrtrack.routers.problems import install_problem_handlers
from qrtrack.runtime import Runtime

ClientOf = Callable[..., httpx2.AsyncClient]


class FakeDatabase:
    def __init__(self, *, is_there: bool) -> None:
        self.is_there = is_there

    async def ready(self) -> dict[str, Any]:
        if not self.is_there:
            raise Unavailable("The database does not answer.")
        return {"schema_revision": "abc"}


@pytest.fixture
def client(client_of: ClientOf, request: pytest.FixtureRequest) -> httpx2.AsyncClient:
    app = FastAPI()
    install_problem_handlers(app)
    app.include_router(health.router)
    return client_of(app, SimpleNamespace(database=FakeDatabase(is_there=request.param)))


@pytest.mark.parametrize("client", [True, False], indirect=True)
async def test_a_living_process_says_so_whatever_the_database_does(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"success": True, "status": "alive"})


async def test_with_its_database_the_service_is_ready(client_of: ClientOf, runtime: Runtime) -> None:
    app = FastAPI()
    app.include_router(health.router)
    answer = (await client_of(app, runtime).get("/readyz")).json()
    assert answer.pop("accurate")["sources"] == []
    assert answer == {"success": True, "status": "ready", "database": "ok", "schema": "ok"}


@pytest.mark.parametrize("client", [False], indirect=True)
async def test_without_its_database_the_service_is_not_ready(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["detail"] == "The database does not answer."
    assert "retry-after" in answer.headers
