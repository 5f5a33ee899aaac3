"""The database's owner is no superuser, on the oldest and the newest version, with roles of many kinds."""

import asyncio
from pathlib import Path

import pytest

from cluster import VERSIONS, Cluster
from process import run
from qrtrack.database import Database
from qrtrack.postgresql.database_checks import DatabaseUnfit
from qrtrack.postgresql.tenant_role import TenantRoleUnusable
from sites import Site, new_site

pytestmark = pytest.mark.usefixtures("nothing_left")

on_each_version = pytest.mark.parametrize("cluster", VERSIONS, indirect=True)


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


async def test_another_name_for_a_migrated_database_is_refused_with_both_names(site: Site) -> None:
    await site.migrate()
    with pytest.raises(
        TenantRoleUnusable, match="migrated with the role qrtrack_tenant, but DATABASE_TENANT_ROLE is new"
    ):
        await site.migrate("new")
    await site.cluster.sql("ALTER ROLE qrtrack_tenant RENAME TO new")
    await site.migrate("new")


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


async def test_a_user_who_does_not_own_the_database_learns_who_may_create_tables(
    cluster: Cluster, tmp_path: Path
) -> None:
    await cluster.sql("CREATE ROLE app LOGIN CREATEROLE", "CREATE DATABASE app")
    site = Site(cluster, "app")
    with pytest.raises(DatabaseUnfit, match="permission denied for schema public") as refused:
        await site.migrate()
    await cluster.sql(str(refused.value).partition("run: ")[2])
    await site.migrate()
    await site.pack(tmp_path)
