"""The database's owner is no superuser: whoever made the role of requests, requests run under it, or nothing runs."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import text

from cluster import VERSIONS, Cluster, running_cluster
from plant import Plant, ska
from process import run, settings_of
from qrtrack.database import Database
from qrtrack.database_checks import DatabaseUnfit
from qrtrack.domain.identity import Caller, Role
from qrtrack.runtime import open_runtime
from qrtrack.tenant_role import TenantRoleUnusable

on_each_version = pytest.mark.parametrize("cluster", VERSIONS, indirect=True)


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with running_cluster(getattr(request, "param", VERSIONS[0])) as cluster:
        yield cluster


class Site:
    """One installation: a user of its own that owns a database of its own. Both have one name."""

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
        """A case is packed, as requests do it; another organisation sees none of it."""
        async with open_runtime(settings_of(self.url, folder, database_tenant_role=role)) as runtime:
            plant = Plant(runtime, Caller("packer", uuid4(), frozenset({Role.ADMIN})))
            batch = await plant.prepared(4, exclude=ska(2), units_per_case=3)
            assert (await plant.pack(batch)).linked_codes == ska(1, 3, 4)
            for organisation_id, seen in ((plant.caller.organisation_id, 1), (uuid4(), 0)):
                async with runtime.database.read(tenant=organisation_id) as repositories:
                    rows = await repositories._session.execute(text("SELECT id FROM qr_batches"))
                    assert len(rows.all()) == seen


@pytest.fixture(autouse=True)
async def nothing_left(cluster: Cluster) -> AsyncIterator[None]:
    yield
    for row in await cluster.sql("SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres'"):
        await cluster.sql(f'DROP DATABASE "{row["datname"]}" WITH (FORCE)')
    # A user who granted a role goes after the role.
    for row in await cluster.sql("SELECT quote_ident(rolname) FROM pg_roles WHERE oid > 16383 ORDER BY rolcanlogin"):
        await cluster.sql(f"DROP ROLE {row[0]}")


@pytest.fixture
async def site(cluster: Cluster) -> Site:
    """Made as providers do: an owner with CREATEROLE."""
    return await new_site(cluster, "app")


async def new_site(cluster: Cluster, name: str, rights: str = "CREATEROLE") -> Site:
    await cluster.sql(f"CREATE ROLE {name} LOGIN {rights}", f"CREATE DATABASE {name} OWNER {name}")
    return Site(cluster, name)


@on_each_version
async def test_an_owner_who_may_create_roles_needs_nobody_else(site: Site, tmp_path: Path) -> None:
    await site.migrate()
    await site.pack(tmp_path)


async def test_a_migration_twice_at_once_makes_the_role_once(site: Site, tmp_path: Path) -> None:
    assert len(set(await asyncio.gather(site.migrate(), site.migrate()))) == 1
    await site.pack(tmp_path)


@pytest.mark.parametrize("role", ["select", "Mixed-Case", "x" * 63])
async def test_any_name_of_a_role_is_quoted(site: Site, tmp_path: Path, role: str) -> None:
    await site.migrate(role)
    await site.pack(tmp_path, role)


@on_each_version
async def test_a_role_that_an_administrator_made_beforehand_is_used(cluster: Cluster, tmp_path: Path) -> None:
    site = await new_site(cluster, "plain", "NOCREATEROLE")
    await cluster.sql("CREATE ROLE qrtrack_tenant NOLOGIN", "GRANT qrtrack_tenant TO plain")
    await site.migrate()
    await site.pack(tmp_path)


@on_each_version
@pytest.mark.parametrize("made", [False, True])
async def test_without_the_right_to_make_the_role_migrate_prints_what_an_administrator_runs(
    cluster: Cluster, tmp_path: Path, *, made: bool
) -> None:
    site = await new_site(cluster, "plain", "NOCREATEROLE")
    if made:
        await cluster.sql("CREATE ROLE qrtrack_tenant NOLOGIN")
    with pytest.raises(TenantRoleUnusable) as refused:
        await site.migrate()
    statements = [line.strip() for line in str(refused.value).splitlines()[1:]]
    options = " WITH SET TRUE, INHERIT FALSE" if cluster.version >= 16 else ""
    expected = ["CREATE ROLE qrtrack_tenant NOLOGIN;", f"GRANT qrtrack_tenant TO plain{options};"]
    assert statements == expected[made:]
    assert await site.tables() == 0, "nothing was changed"
    await cluster.sql(*statements)
    await site.migrate()
    await site.pack(tmp_path)


@on_each_version
async def test_a_second_installation_needs_a_role_of_its_own(cluster: Cluster, site: Site, tmp_path: Path) -> None:
    await site.migrate()
    other = await new_site(cluster, "second")
    # As an administrator would who wants the second one to work: on 16 and newer it may not grant the role itself.
    await cluster.sql("GRANT qrtrack_tenant TO second")
    with pytest.raises(TenantRoleUnusable, match=r"holds rights in another database .*\(app\).*DATABASE_TENANT_ROLE"):
        await other.migrate()
    assert await other.tables() == 0
    await other.migrate("second_tenant")
    await other.pack(tmp_path, "second_tenant")
    await site.migrate()
    for role, database in (("qrtrack_tenant", "second"), ("second_tenant", "app")):
        rights = await cluster.sql(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
            f" AND has_table_privilege('{role}', oid, 'SELECT')",
            database=database,
        )
        assert rights == []


async def test_two_installations_that_begin_at_once_with_one_role_do_not_share_it(
    cluster: Cluster, site: Site, tmp_path: Path
) -> None:
    other = await new_site(cluster, "second")
    await cluster.sql("CREATE ROLE qrtrack_tenant NOLOGIN", "GRANT qrtrack_tenant TO app, second")
    done = await asyncio.gather(
        *(
            asyncio.to_thread(run, tmp_path, "migrate", DATABASE_URL=one.url, DATABASE_TENANT_ROLE="qrtrack_tenant")
            for one in (site, other)
        )
    )
    refused = [one for one in done if one.returncode == 1]
    assert refused, "each of them could read the other"
    assert all("DATABASE_TENANT_ROLE" in one.stderr for one in refused)


async def test_a_role_whom_the_policies_do_not_bind_is_refused(cluster: Cluster, site: Site) -> None:
    await cluster.sql(
        "CREATE ROLE mighty NOLOGIN BYPASSRLS", "GRANT mighty TO app", "CREATE ROLE heir", "GRANT heir TO app"
    )
    await cluster.sql("CREATE ROLE owners", "GRANT owners TO app")
    for role in ("mighty", "app"):
        with pytest.raises(TenantRoleUnusable, match="do not bind"):
            await site.migrate(role)
        assert await site.tables() == 0


async def test_another_name_for_a_migrated_database_is_refused_with_both_names(site: Site) -> None:
    await site.migrate()
    with pytest.raises(
        TenantRoleUnusable, match="migrated with the role qrtrack_tenant, but DATABASE_TENANT_ROLE is new"
    ):
        await site.migrate("new")
    await site.cluster.sql("ALTER ROLE qrtrack_tenant RENAME TO new")
    await site.migrate("new")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        ("REVOKE qrtrack_tenant FROM app CASCADE", "permission denied to set role"),
        ("REVOKE SELECT ON qr_batches FROM qrtrack_tenant", "permission denied for table qr_batches"),
        ("ALTER ROLE qrtrack_tenant RENAME TO gone", 'role "qrtrack_tenant" does not exist'),
        ("ALTER ROLE qrtrack_tenant BYPASSRLS", "do not bind"),
    ],
)
async def test_it_is_not_ready_when_requests_could_not_run(site: Site, spoil: str, reason: str) -> None:
    await site.migrate()
    database = Database.connect(site.url, pool_size=1)
    try:
        await database.ready()
        granted = await site.cluster.sql(
            "SELECT grantor::regrole FROM pg_auth_members WHERE roleid = 'qrtrack_tenant'::regrole", database="app"
        )
        for row in granted if spoil.startswith("REVOKE qrtrack_tenant") else ():
            await site.cluster.sql(spoil.replace(" CASCADE", f" GRANTED BY {row['grantor']} CASCADE"), database="app")
        if not spoil.startswith("REVOKE qrtrack_tenant"):
            await site.cluster.sql(spoil, database="app")
        with pytest.raises(TenantRoleUnusable, match=reason):
            await database.ready()
    finally:
        await database.close()


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
async def test_a_database_of_another_encoding_is_refused_with_the_statement_that_makes_a_fitting_one(
    cluster: Cluster, encoding: str
) -> None:
    await cluster.sql(
        "CREATE ROLE app LOGIN CREATEROLE CREATEDB",
        f"CREATE DATABASE app OWNER app ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0",
    )
    site = Site(cluster, "app")
    with pytest.raises(DatabaseUnfit, match=encoding) as refused:
        await site.migrate()
    assert await site.tables() == 0
    database = Database.connect(site.url, pool_size=1)
    with pytest.raises(DatabaseUnfit, match=encoding):
        await database.ready()
    await database.close()
    await cluster.sql(str(refused.value).partition("DATABASE_URL: ")[2], user="app", database="app")
    site.name, site.url = "app_utf8", cluster.url("app", "app_utf8")
    await site.migrate()


@pytest.mark.parametrize(
    "elsewhere",
    [
        ["CREATE SCHEMA app AUTHORIZATION app"],
        ["CREATE SCHEMA mine AUTHORIZATION app", "ALTER ROLE app SET search_path = mine, public"],
        ["ALTER DATABASE app SET search_path = nowhere"],
    ],
)
async def test_a_schema_other_than_public_is_refused_with_the_statement_that_helps(
    site: Site, tmp_path: Path, elsewhere: list[str]
) -> None:
    await site.cluster.sql(*elsewhere, database="app")
    with pytest.raises(DatabaseUnfit, match="search_path") as refused:
        await site.migrate()
    assert await site.tables() == 0
    await site.cluster.sql(str(refused.value).partition("Run: ")[2], user="app", database="app")
    await site.migrate()
    await site.pack(tmp_path)


async def test_a_user_who_owns_nothing_is_told_who_may_make_tables(cluster: Cluster, tmp_path: Path) -> None:
    await cluster.sql("CREATE ROLE app LOGIN CREATEROLE", "CREATE DATABASE app")
    site = Site(cluster, "app")
    with pytest.raises(DatabaseUnfit, match="permission denied for schema public") as refused:
        await site.migrate()
    await cluster.sql(str(refused.value).partition("run: ")[2])
    await site.migrate()
    await site.pack(tmp_path)
