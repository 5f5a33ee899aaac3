"""A PostgreSQL of a test's own, which may be crashed and watched from inside."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from plant import Plant
from process import TENANT_ROLE, let_tests_skip_triggers
from qrtrack.domain.identity import Caller, Role
from qrtrack.postgresql import embedded, schema_revision
from qrtrack.runtime import open_runtime
from qrtrack.settings import Settings


@pytest.fixture
def server(tmp_path: Path) -> Iterator[embedded.EmbeddedPostgres]:
    """Durable: what has been committed must be there after a crash."""
    with embedded.start(tmp_path / "data") as server:
        yield server


@pytest.fixture
async def own_plant(server: embedded.EmbeddedPostgres, settings: Settings) -> AsyncIterator[Plant]:
    url = server.url()
    await let_tests_skip_triggers(url)
    engine = create_async_engine(url)
    await schema_revision.migrate(engine, tenant_role=TENANT_ROLE)
    await engine.dispose()
    async with open_runtime(settings.model_copy(update={"database_url": url})) as runtime:
        yield Plant(runtime, Caller("restart", uuid4(), frozenset({Role.ADMIN})))
