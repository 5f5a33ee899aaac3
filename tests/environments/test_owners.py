"""The owner that a provider gives: no superuser, with CREATEROLE or without, and another installation beside it."""

import asyncio
import re
from collections.abc import Callable

import httpx2
import pytest

from environments.clusters import Cluster, Owner
from environments.program import Installation, Site
from environments.story import tell_story

Install = Callable[..., Installation]

BATCHES = "SELECT count(*) FROM qr_batches"


def statements(words: str) -> list[str]:
    """What an administrator is asked to run."""
    return re.findall(r"(?:CREATE ROLE|GRANT)[^;]*;", words)


def forget_role(cluster: Cluster, role: str = "qrtrack_tenant") -> None:
    """As if no installation had been here: another test's database may have left the role in the cluster."""
    if not cluster.sql(f"SELECT 1 FROM pg_roles WHERE rolname = '{role}'"):
        return
    for (database,) in cluster.sql("SELECT datname FROM pg_database WHERE datallowconn"):
        cluster.sql(f"DROP OWNED BY {role}", database)
    cluster.sql(f"DROP ROLE {role}")


async def test_an_owner_with_createrole_needs_nothing_else(any_provider: Cluster, install: Install) -> None:
    owner = any_provider.owner("creator", createrole=True)
    installation = install(any_provider.database("creator", owner), DATABASE_TENANT_ROLE="creator_tenant")
    installation.migrate()
    installation.migrate()
    await tell_story(installation)
    assert any_provider.sql(
        "SELECT rolcanlogin, rolsuper, rolbypassrls FROM pg_roles WHERE rolname = 'creator_tenant'"
    ) == [("f", "f", "f")]


async def test_an_owner_without_createrole_gets_the_two_statements_for_the_administrator(
    any_provider: Cluster, install: Install
) -> None:
    owner = any_provider.owner("plain")
    installation = install(any_provider.database("plain", owner), DATABASE_TENANT_ROLE="plain_tenant")
    words = installation.refused("migrate", lines=5)
    create, grant = statements(words)
    assert "plain_tenant" in create
    assert re.search(r"plain_tenant\W+TO\W+plain\b", grant)
    tables = "SELECT 1 FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    assert any_provider.sql(tables, "plain") == []
    any_provider.sql(create)
    any_provider.sql(grant)
    installation.migrate()
    await tell_story(installation)


async def test_a_role_without_its_grant_is_refused_with_the_grant_to_run(provider: Cluster, install: Install) -> None:
    owner = provider.owner("ungranted")
    installation = install(provider.database("ungranted", owner), DATABASE_TENANT_ROLE="ungranted_tenant")
    provider.sql("CREATE ROLE ungranted_tenant NOLOGIN")
    grant = statements(installation.refused("migrate", lines=5))[-1]
    provider.sql(grant)
    installation.migrate()
    async with installation.serving():
        pass


async def test_the_role_of_docs_made_beforehand_is_taken(provider: Cluster, install: Install) -> None:
    """The default name, and the plain grant as docs/running.md has had it."""
    forget_role(provider)
    owner = provider.owner("beforehand")
    provider.sql("CREATE ROLE qrtrack_tenant NOLOGIN")
    provider.sql("GRANT qrtrack_tenant TO beforehand")
    installation = install(provider.database("beforehand", owner))
    installation.migrate()
    await tell_story(installation)


async def test_membership_that_cannot_be_used_is_told_before_it_fails_requests(
    provider: Cluster, install: Install
) -> None:
    """From 16 on a role may be granted without SET: `SET ROLE` of every request would fail."""
    if provider.version < 16:
        pytest.skip("PostgreSQL 15 has no membership without SET")
    owner = provider.owner("unset")
    installation = install(provider.database("unset", owner), DATABASE_TENANT_ROLE="unset_tenant")
    provider.sql("CREATE ROLE unset_tenant NOLOGIN")
    provider.sql("GRANT unset_tenant TO unset WITH SET FALSE, INHERIT FALSE")
    grant = statements(installation.refused("migrate", lines=5))[-1]
    provider.sql(grant)
    installation.migrate()
    provider.sql("REVOKE SET OPTION FOR unset_tenant FROM unset")
    async with installation.started() as site:
        answer = await _settled(site)
        assert answer is None or answer.status_code == 503
        assert "unset_tenant" in site.log()


async def test_a_role_of_another_database_is_refused_and_another_name_works(
    provider: Cluster, install: Install
) -> None:
    forget_role(provider)
    first = _second(provider, "first")
    second = _second(provider, "second")
    one = install(provider.url(first, "first"))
    one.migrate()
    two = install(provider.url(second, "second"))
    words = two.refused("migrate", lines=5)
    assert "DATABASE_TENANT_ROLE" in words
    assert "qrtrack_tenant" in words
    two.settings["DATABASE_TENANT_ROLE"] = "qrtrack_second"
    two.migrate()
    await tell_story(two)
    for role, strange in (("qrtrack_tenant", "second"), ("qrtrack_second", "first")):
        with pytest.raises(RuntimeError, match="permission denied"):
            provider.sql(f"SET ROLE {role}; {BATCHES}", strange)
    with pytest.raises(RuntimeError, match="permission denied"):
        provider.sql(BATCHES, "second", owner=first)


def _second(cluster: Cluster, name: str) -> Owner:
    owner = cluster.owner(name, createrole=True)
    cluster.database(name, owner)
    return owner


async def _settled(site: Site) -> httpx2.Response | None:
    """What /readyz says once there is an answer; None when the process ended by itself."""
    while (answer := await site.ready()) is None and site.process.poll() is None:
        await asyncio.sleep(0.1)
    return answer
