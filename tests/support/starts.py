"""The messages of commands that refuse a database, and a cluster with the user and the database `app`."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command as alembic

from cluster import Cluster, running_cluster
from process import run
from qrtrack.database import Database
from qrtrack.postgresql import schema_revision, tenant_role


@pytest.fixture(scope="module")
def app_cluster() -> Iterator[Cluster]:
    with running_cluster("18") as app_cluster:
        asyncio.run(app_cluster.sql("CREATE ROLE app LOGIN CREATEROLE", "CREATE DATABASE app OWNER app"))
        yield app_cluster


@pytest.fixture(scope="module")
def migrated(app_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    url = app_cluster.url("app", "app")
    done = run(tmp_path_factory.mktemp("migrated"), "migrate", DATABASE_URL=url)
    assert done.returncode == 0, done.stderr
    return url


def only_line(done: subprocess.CompletedProcess[str]) -> str:
    """Returns the line in which the command says why it failed. Checks exit code 1 and that there is no traceback."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("qrtrack: ")]
    return line


def refused_at(tmp_path: Path, app_cluster: Cluster, migrated: str, command: str, *, revision: str) -> str:
    """Returns what the command says about a database at this revision. Checks that the command did not change the
    revision.
    """
    [known] = asyncio.run(app_cluster.sql("SELECT version_num FROM alembic_version", database="app"))
    asyncio.run(app_cluster.sql(f"UPDATE alembic_version SET version_num = '{revision}'", "SELECT 1", database="app"))
    try:
        said = only_line(run(tmp_path, command, DATABASE_URL=migrated))
        assert asyncio.run(app_cluster.sql("SELECT version_num FROM alembic_version", database="app")) == [(revision,)]
        return said
    finally:
        back = f"UPDATE alembic_version SET version_num = '{known[0]}'"
        asyncio.run(app_cluster.sql(back, "SELECT 1", database="app"))


async def migrate_to(url: str, role: str, *revisions: str) -> None:
    """Migrates to the newest revision, then back to each of these revisions."""
    database = Database.connect(url, pool_size=1)
    async with database.engine.begin() as connection:
        await connection.run_sync(tenant_role.provide_role, role)
        await connection.run_sync(
            lambda plain: alembic.upgrade(schema_revision._config(plain, tenant_role=role), "head")
        )
        for revision in revisions:
            await connection.run_sync(
                lambda plain, to: alembic.downgrade(schema_revision._config(plain, tenant_role=role), to), revision
            )
    await database.close()
