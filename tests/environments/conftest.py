"""One machine, one initdb a version, and one shared cluster a version: a test makes databases, which cost little."""

from collections.abc import Callable, Iterator

import pytest

from environments.clusters import VERSIONS, Cluster, Clusters
from environments.machine import Machine
from environments.program import Installation


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    with Machine() as machine:
        yield machine


@pytest.fixture(scope="session")
def clusters(machine: Machine) -> Clusters:
    """For tests that need a cluster of their own: they crash it, or set it up in a way that others cannot share."""
    return Clusters(machine)


@pytest.fixture(scope="session")
def shared(clusters: Clusters) -> Callable[[int], Cluster]:
    """The cluster of a version that tests share; they leave it running."""
    made: dict[int, Cluster] = {}

    def of(version: int) -> Cluster:
        if version not in made:
            made[version] = clusters.cluster(version)
        return made[version]

    return of


@pytest.fixture(params=[15, 18])
def provider(request: pytest.FixtureRequest, shared: Callable[[int], Cluster]) -> Cluster:
    """The shared cluster of the oldest and of the newest version."""
    return shared(request.param)


@pytest.fixture(params=VERSIONS)
def any_provider(request: pytest.FixtureRequest, shared: Callable[[int], Cluster]) -> Cluster:
    """Of 16 too, whose grants are unlike those of 15: for what depends on roles."""
    return shared(request.param)


@pytest.fixture
def install(machine: Machine) -> Callable[..., Installation]:
    """An installation with a database URL and settings."""

    def made(url: str | None, **settings: str) -> Installation:
        return Installation(machine, url, settings)

    return made
