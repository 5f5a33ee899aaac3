"""Installations in one cluster: each has its own user, which owns its own database."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import text

from cluster import VERSIONS, Cluster, running_cluster
from plant import Plant, ska
from process import settings_of
from qrtrack.database import Database
from qrtrack.domain.identity import Caller, Role
from qrtrack.runtime import open_runtime


class Site:
    """One installation: a user and the database that it owns, both with the same name."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster, self.name = cluster, name
        self.url = cluster.url(name, name)

    async def migrate(self, role: str = "qrtrack_tenant") -> str:
        database = Database.connect(self.url, pool_size=1, tenant_role=role)
        try:
            return await database.migrate()
        finally:
            await database.close()

    async def tables(self) -> int:
        [row] = await self.cluster.sql(
            "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relowner > 16383", database=self.name
        )
        return int(row["count"])

    async def pack(self, folder: Path, role: str = "qrtrack_tenant") -> None:
        """Packs a case as requests do, and checks that another organisation does not see the batch."""
        async with open_runtime(settings_of(self.url, folder, database_tenant_role=role)) as runtime:
            plant = Plant(runtime, Caller("packer", uuid4(), frozenset({Role.ADMIN})))
            batch = await plant.prepared(4, exclude=ska(2), units_per_case=3)
            assert (await plant.pack(batch)).linked_codes == ska(1, 3, 4)
            for organisation_id, seen in ((plant.caller.organisation_id, 1), (uuid4(), 0)):
                async with runtime.database.read(tenant=organisation_id) as repositories:
                    rows = await repositories._session.execute(text("SELECT id FROM qr_batches"))
                    assert len(rows.all()) == seen


async def new_site(cluster: Cluster, name: str, rights: str = "CREATEROLE") -> Site:
    await cluster.sql(f"CREATE ROLE {name} LOGIN {rights}", f"CREATE DATABASE {name} OWNER {name}")
    return Site(cluster, name)


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with running_cluster(getattr(request, "param", VERSIONS[0])) as cluster:
        yield cluster


@pytest.fixture
async def nothing_left(cluster: Cluster) -> AsyncIterator[None]:
    yield
    for row in await cluster.sql("SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres'"):
        await cluster.sql(f'DROP DATABASE "{row["datname"]}" WITH (FORCE)')
    # A user who granted a role goes after the role.
    for row in await cluster.sql("SELECT quote_ident(rolname) FROM pg_roles WHERE oid > 16383 ORDER BY rolcanlogin"):
        await cluster.sql(f"DROP ROLE {row[0]}")


@pytest.fixture
async def site(cluster: Cluster) -> Site:
    """An installation as providers make it: its user owns the database and has CREATEROLE."""
    return await new_site(cluster, "app")
