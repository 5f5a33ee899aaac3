"""The short form of tests/environments: the whole story on a provider's oldest and newest PostgreSQL."""

from collections.abc import Iterator

import pytest

from environments.clusters import Clusters
from environments.machine import Machine
from environments.program import Installation
from environments.story import tell_story


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine() as machine:
        yield machine


async def test_an_owner_with_createrole_on_the_newest_version(machine: Machine) -> None:
    cluster = Clusters(machine).cluster(18)
    owner = cluster.owner("creator", createrole=True)
    installation = Installation(machine, cluster.database("plant", owner))
    installation.migrate()
    await tell_story(installation)


async def test_an_owner_without_createrole_on_the_oldest_version(machine: Machine) -> None:
    """An administrator has made the role and granted it, as docs/running.md says."""
    cluster = Clusters(machine).cluster(15)
    owner = cluster.owner("plain")
    cluster.sql("CREATE ROLE qrtrack_tenant NOLOGIN")
    cluster.sql("GRANT qrtrack_tenant TO plain")
    installation = Installation(machine, cluster.database("plant", owner))
    installation.migrate()
    await tell_story(installation)
