"""PgBouncer in transaction mode before a plain owner's database, with DATABASE_POOLER and without."""

from collections.abc import Callable

from environments.clusters import Cluster
from environments.machine import Machine
from environments.pgbouncer import start_pgbouncer
from environments.program import Installation
from environments.story import tell_story, until

Install = Callable[..., Installation]


async def test_the_whole_story_through_pgbouncer(provider: Cluster, machine: Machine, install: Install) -> None:
    owner = provider.owner("pooled", createrole=True)
    provider.database("pooled", owner)
    url = provider.url(owner, "pooled", host=start_pgbouncer(machine, provider, owner))
    installation = install(url, DATABASE_POOLER="transaction", DATABASE_TENANT_ROLE="pooled_tenant")
    installation.migrate()
    await tell_story(installation)


async def test_without_database_pooler_the_reason_names_the_setting(
    provider: Cluster, machine: Machine, install: Install
) -> None:
    owner = provider.owner("unpooled", createrole=True)
    direct = provider.database("unpooled", owner)
    url = provider.url(owner, "unpooled", host=start_pgbouncer(machine, provider, owner))
    installation = install(url, DATABASE_TENANT_ROLE="unpooled_tenant")
    assert "DATABASE_POOLER" in installation.refused("migrate")
    install(direct, DATABASE_TENANT_ROLE="unpooled_tenant").migrate()
    assert "DATABASE_POOLER" in installation.refused("prune", "--dry-run")
    async with installation.started() as site:

        async def told() -> bool | None:
            return "DATABASE_POOLER" in site.log() or None

        try:
            await until(told, seconds=15)
        except AssertionError:
            raise AssertionError(f"the log does not name DATABASE_POOLER:\n{site.log()}") from None
        assert "Traceback" not in site.log()
