"""The owner of the database is no superuser: requests run under the role of requests, whoever created it, or the
program refuses to run.
"""

from pathlib import Path

import pytest

from cluster import Cluster
from qrtrack.database import Database
from qrtrack.postgresql.database_checks import DatabaseUnfit
from qrtrack.postgresql.tenant_role import TenantRoleUnusable
from sites import Site

pytestmark = pytest.mark.usefixtures("nothing_left")


async def test_an_owner_who_may_create_roles_needs_nobody_else(site: Site, tmp_path: Path) -> None:
    await site.migrate()
    await site.pack(tmp_path)


@pytest.mark.parametrize(
    ("rights", "database", "refusal", "words"),
    [
        ("NOCREATEROLE", "OWNER app", TenantRoleUnusable, "CREATE ROLE qrtrack_tenant NOLOGIN;"),
        ("CREATEROLE", "", DatabaseUnfit, "permission denied for schema public"),
        ("CREATEROLE", "OWNER app ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0", DatabaseUnfit, "LATIN1"),
        ("CREATEROLE", "OWNER app; ALTER ROLE app SET search_path = nowhere", DatabaseUnfit, "search_path"),
    ],
)
async def test_migrate_names_an_obstacle_and_changes_nothing(
    cluster: Cluster, rights: str, database: str, refusal: type[Exception], words: str
) -> None:
    """tests/environments tests the advice in the messages, on several versions."""
    await cluster.sql(f"CREATE ROLE app LOGIN {rights}", *f"CREATE DATABASE app {database}".split("; "), "SELECT 1")
    site = Site(cluster, "app")
    with pytest.raises(refusal, match=words):
        await site.migrate()
    assert await site.tables() == 0


async def test_a_role_whom_the_policies_do_not_bind_is_refused(cluster: Cluster, site: Site) -> None:
    await cluster.sql(
        "CREATE ROLE mighty NOLOGIN BYPASSRLS", "GRANT mighty TO app", "CREATE ROLE heir", "GRANT heir TO app"
    )
    await cluster.sql("CREATE ROLE owners", "GRANT owners TO app")
    for role in ("mighty", "app"):
        with pytest.raises(TenantRoleUnusable, match="do not bind"):
            await site.migrate(role)
        assert await site.tables() == 0


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
