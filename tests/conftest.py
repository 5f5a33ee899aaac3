"""The fixtures of all tests: a real PostgreSQL, migrated once. Commits are real, and all rows are deleted after each
test.
"""

import garbage  # isort: split

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from uuid import uuid4

import hypothesis
import pytest
import structlog
from sqlalchemy import make_url

from accurate import Accurate
from backup_page import dump, restored_here  # noqa: F401 - fixtures
from embedded_users import folder, no_link_left, prepared, users  # noqa: F401 - fixtures
from plant import Plant
from process import TENANT_ROLE, Broom, let_tests_skip_triggers, settings_of
from qrtrack.database import Database
from qrtrack.domain.identity import Caller, Role
from qrtrack.postgresql import embedded
from qrtrack.postgresql.connections import Connector
from qrtrack.runtime import Runtime, open_runtime
from qrtrack.settings import Settings
from qrtrack.settings.postgresql import parse_address
from sites import cluster, nothing_left, site  # noqa: F401 - fixtures
from starts import app_cluster, migrated  # noqa: F401 - fixtures
from ticking import HANG_SECONDS
from treasury import Treasury, open_treasury
from warm import LOOP, KeptLoop, close_all, warm

# Tracebacks as the program writes them. The library's own draw every local variable: each failure that a test provokes
# then takes seconds.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)


def pytest_addoption(parser: pytest.Parser) -> None:
    help_text = "files, and the tests of each, in a random order; Hypothesis draws new examples"
    parser.addoption("--shuffle", type=int, metavar="SEED", help=help_text)


def pytest_configure(config: pytest.Config) -> None:
    """Lets Hypothesis draw the same examples in each run, so that a change that breaks nothing does not fail. Switches
    its deadline off, since a busy machine is slow.
    """
    is_repeated = config.getoption("shuffle") is None and config.getoption("hypothesis_seed") is None
    hypothesis.settings.register_profile("patient", deadline=None, derandomize=is_repeated)
    hypothesis.settings.load_profile("patient")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if (seed := config.getoption("shuffle")) is not None:
        random = Random(seed)
        # A file's tests stay together: they share a module's fixtures.
        places = {path: random.random() for path in sorted({item.path for item in items})}
        random.shuffle(items)
        items.sort(key=lambda item: places[item.path])


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Notes that the test may leave rows because it uses the database without the fixture `runtime`. They are deleted
    before the next `runtime` is opened.
    """
    fixtures = getattr(item, "fixturenames", ())
    if "migrated_url" in fixtures and "runtime" not in fixtures:
        Broom.is_due = True


def pytest_collection_finish() -> None:
    garbage.resume()


def pytest_unconfigure() -> None:
    garbage.end()


@pytest.fixture(scope="session", autouse=True)
def patience() -> Iterator[None]:
    """Raises the program's time limits, so that none of them ends a test on a busy machine. A test of a limit sets the
    limit itself.
    """
    limits = {
        "qrtrack.postgresql.connections": ("PATIENCE_SECONDS", "STATEMENT_SECONDS"),
        "qrtrack.database": ("LOCK_SECONDS", "READY_SECONDS"),
        "qrtrack.postgresql.pools": ("PATIENCE_SECONDS",),
        "qrtrack.services.gauges": ("READ_SECONDS", "SOON_SECONDS"),
        "qrtrack.services.labels.printing": ("LAST_SECONDS",),
        "qrtrack.integrations.printers": ("CONNECT_SECONDS", "SILENT_SECONDS", "ANSWER_SECONDS"),
        "qrtrack.integrations.tokens": ("FETCH_SECONDS",),
    }
    with pytest.MonkeyPatch.context() as patch:
        for module, names in limits.items():
            for name in names:
                patch.setattr(f"{module}.{name}", HANG_SECONDS)
        yield


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, Callable[[], KeptLoop]]:
    # The same function for every test: pytest compares it, and ends all fixtures of the session where it differs.
    return {"kept": kept_loop}


def kept_loop() -> KeptLoop:
    return LOOP


@pytest.fixture(scope="session")
def database_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An empty database for this test process: on an embedded server, or on the server of TEST_DATABASE_URL."""
    given = os.environ.get("TEST_DATABASE_URL")
    if given is not None:
        yield asyncio.run(_empty_database(given))
        return
    with embedded.start(tmp_path_factory.mktemp("postgresql"), durable=False) as server:
        url = server.url()
        asyncio.run(let_tests_skip_triggers(url))
        yield url


async def _empty_database(url: str) -> str:
    name = f"qrtrack_tests_{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}"
    connection = await Connector(parse_address(url)).connect()
    await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    return make_url(url).set(drivername="postgresql+asyncpg", database=name).render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def migrated_url(database_url: str) -> str:
    async def migrate() -> None:
        database = Database.connect(database_url, pool_size=1, tenant_role=TENANT_ROLE)
        await database.migrate()
        await database.close()

    asyncio.run(migrate())
    return database_url


@pytest.fixture(scope="session")
def broom(migrated_url: str) -> Iterator[Broom]:
    broom = Broom(migrated_url)
    yield broom
    broom.close()


@pytest.fixture(scope="session")
def warmth(migrated_url: str) -> Iterator[None]:
    yield
    close_all()


@pytest.fixture
def settings(migrated_url: str, tmp_path: Path) -> Settings:
    return settings_of(migrated_url, tmp_path)


@pytest.fixture
async def runtime(settings: Settings, broom: Broom, warmth: None) -> AsyncIterator[Runtime]:
    """The runtime of a process, without the HTTP server and the worker loop. Deletes all rows after the test."""
    if Broom.is_due:
        await broom.sweep()
    async with AsyncExitStack() as open_runtimes:
        with warm():
            runtime = await open_runtimes.enter_async_context(open_runtime(settings))
        try:
            yield runtime
        finally:
            await broom.sweep()


@pytest.fixture
def database(runtime: Runtime) -> Database:
    return runtime.database


@pytest.fixture
def caller() -> Caller:
    """An administrator of a new organisation."""
    return Caller(str(uuid4()), uuid4(), frozenset({Role.ADMIN}))


@pytest.fixture
def plant(runtime: Runtime, caller: Caller) -> Plant:
    """Short methods for what most tests begin with, in one organisation."""
    return Plant(runtime, caller)


@pytest.fixture
def accurate(runtime: Runtime) -> Accurate:
    """Accurate as a sender of webhooks. The test's settings must name its database."""
    return Accurate(runtime)


@pytest.fixture
async def treasury(settings: Settings) -> AsyncIterator[Treasury]:
    """An organisation with an account at a bank gateway that runs in this process."""
    async with open_treasury(settings) as treasury:
        yield treasury
