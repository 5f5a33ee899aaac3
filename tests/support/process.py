"""Starts processes of the service for tests: their settings, a free port, and the deletion of all rows afterwards."""

import asyncio
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Thread
from typing import Any

import asyncpg
import httpx2
from pydantic_settings import PydanticBaseSettingsSource
from sqlalchemy import make_url

from forked import Qrtrack
from qrtrack.database import Database
from qrtrack.integrations.http import tls
from qrtrack.models import Table
from qrtrack.postgresql.connections import Connector
from qrtrack.repositories.base import Connection
from qrtrack.settings import Settings
from qrtrack.settings.postgresql import parse_address
from ticking import HANG_SECONDS

SECRET = "d1f0a4b79c3e48f2b6a5908e7c1d2f3a-tests"
# Of the labels that `Plant` prints: without it, a second start in a test would be refused.
PRINTED_HOST = "verify.example.com"
# Beside TEST_DATABASE_URL each test process has a database in one cluster, and so needs a role of its own.
TENANT_ROLE = (
    f"qrtrack_tests_{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}"
    if "TEST_DATABASE_URL" in os.environ
    else "qrtrack_tenant"
)


class GivenSettings(Settings):
    """Settings that are not read from the environment or a file. That saves 3 ms in each of 2,000 tests."""

    @classmethod
    def settings_customise_sources(cls, *_: Any, **sources: Any) -> tuple[PydanticBaseSettingsSource, ...]:
        return (sources["init_settings"],)


def settings_of(database_url: str, data_dir: Path, **changes: Any) -> Settings:
    """Returns settings for tests: with cheap bcrypt and quick polls."""
    if not changes:
        return _settings_at(database_url).model_copy(update={"qrtrack_data_dir": data_dir})
    return _validated(database_url, qrtrack_data_dir=data_dir, **changes)


@cache
def _settings_at(database_url: str) -> Settings:
    """Validates the settings once: that takes 2 ms, and in nearly all tests only the data folder differs."""
    return _validated(database_url)


def _validated(database_url: str, **changes: Any) -> Settings:
    values: dict[str, Any] = {
        "database_url": database_url,
        "database_tenant_role": TENANT_ROLE,
        "jwt_secret": SECRET,
        "secret_key": SECRET,
        "cron_secret": SECRET,
        "bcrypt_cost": 4,
        "hash_threads": 2,
        "lease_seconds": 30,
        "poll_seconds": 0.05,
        "retired_public_hosts": PRINTED_HOST,
        "printer_networks": "127.0.0.0/8",
    }
    return GivenSettings(**values | changes)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


async def let_tests_skip_triggers(url: str) -> None:
    """Lets the user of the embedded server, who is no superuser, switch triggers off: tests delete also rows that
    triggers protect.
    """
    connection = await asyncpg.connect(
        make_url(url).set(drivername="postgresql", username="postgres").render_as_string()
    )
    await connection.execute("GRANT SET ON PARAMETER session_replication_role TO qrtrack")
    await connection.close()


# A test's commits are real: its rows are deleted afterwards. The triggers would keep those of trace events. Several
# statements in one message are one transaction.
DELETION = "; ".join(
    (
        "SET LOCAL session_replication_role = replica",
        *(f"DELETE FROM {table.name}" for table in reversed(Table.metadata.sorted_tables)),
    )
)


async def delete_rows(database: Database) -> None:
    async with database.engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        await driver.execute(DELETION)


class Broom:
    """Deletes all rows over one connection for all tests, in its own thread with its own event loop. In a new
    connection, PostgreSQL reads the catalogue of every table anew, which takes ten times as long as the deletion.
    """

    is_due = False

    def __init__(self, url: str) -> None:
        self._connector = Connector(parse_address(url))
        self._connection: Connection | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    async def sweep(self) -> None:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._sweep(), self._loop))

    async def _sweep(self) -> None:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connector.connect()
        await self._connection.execute(DELETION)
        Broom.is_due = False

    def close(self) -> None:
        async def close() -> None:
            if self._connection is not None:
                await self._connection.close()

        asyncio.run_coroutine_threadsafe(close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def environment(folder: Path, **settings: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME"} or name.startswith("COV")}
    secrets = {"JWT_SECRET": SECRET, "SECRET_KEY": SECRET, "CRON_SECRET": SECRET, "BCRYPT_COST": "4"}
    own = {"QRTRACK_DATA_DIR": str(folder / "var"), "DATABASE_TENANT_ROLE": TENANT_ROLE}
    own["RETIRED_PUBLIC_HOSTS"] = PRINTED_HOST
    return kept | secrets | own | settings


def run(folder: Path, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Runs a command until it ends. `serve` gets a free port, for tests in which it must not start."""
    if words[0] == "serve" and "--port" not in words:
        words = (*words, "--port", str(free_port()))
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with Qrtrack(*words, cwd=folder, env=environment(folder, **settings), text=True, **pipes) as process:
        try:
            said, complained = process.communicate(timeout=HANG_SECONDS)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, said, complained)


@contextmanager
def started(folder: Path, *words: str, **settings: str) -> Iterator[subprocess.Popen[str]]:
    process = Qrtrack(*words, cwd=folder, env=environment(folder, **settings), stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def serving(folder: Path, *options: str, **settings: str) -> Iterator[str]:
    """Runs a server during the block, and yields its address when it answers. Its output is in `folder / "log"`."""
    port = free_port()
    with (folder / "log").open("wb") as log:
        words, env = ("serve", "--port", str(port), *options), environment(folder, **settings)
        server = Qrtrack(*words, cwd=folder, env=env, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(f"{address}/healthz")
        yield address
    finally:
        server.kill()
        server.wait()


def wait_for(url: str) -> httpx2.Response:
    give_up = time.monotonic() + HANG_SECONDS
    while True:
        try:
            return httpx2.get(url, trust_env=False, verify=tls())
        except httpx2.ConnectError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.05)


def until_said(process: subprocess.Popen[str], words: str) -> str:
    """Waits for a line on standard error that contains these words, and returns it."""
    assert process.stderr is not None
    while words not in (line := process.stderr.readline()):
        assert line, "it has ended"
    return line
