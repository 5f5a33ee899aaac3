"""Tables outside `public`: they work there, or one line refuses the start and nothing was made."""

from collections.abc import Callable

import pytest

from environments.clusters import Cluster
from environments.program import Installation
from environments.story import tell_story

Install = Callable[..., Installation]

OURS = "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"


@pytest.mark.parametrize("how", ["of the user's name", "search_path of the role", "search_path of the database"])
async def test_another_schema_works_or_is_refused(provider: Cluster, install: Install, how: str) -> None:
    name = f"schema_{how.rpartition(' ')[2]}_{'path' in how}".lower()
    owner = provider.owner(name, createrole=True)
    url = provider.database(name, owner)
    if how == "of the user's name":
        provider.sql(f"CREATE SCHEMA AUTHORIZATION {name}", name)
    else:
        provider.sql(f"CREATE SCHEMA app AUTHORIZATION {name}", name)
        whose = f"ROLE {name}" if how.endswith("role") else f"DATABASE {name}"
        provider.sql(f"ALTER {whose} SET search_path = app, public")
    installation = install(url, DATABASE_TENANT_ROLE=f"{name}_tenant")
    done = installation.run("migrate")
    if done.returncode:
        words = installation.refused("migrate", lines=2)
        assert "schema" in words or "search_path" in words
        assert provider.sql(OURS, name) == []
        return
    assert len({schema for schema, _ in provider.sql(OURS, name)}) == 1
    installation.migrate()
    await tell_story(installation)
