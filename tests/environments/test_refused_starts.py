"""Starts that fail: each command says in one line what the database refuses, and nothing starts beside it."""

import asyncio
from collections.abc import Callable

import pytest

from environments.clusters import Cluster, Owner
from environments.program import Installation

Install = Callable[..., Installation]


@pytest.fixture
def prepared(provider: Cluster, install: Install) -> tuple[Cluster, Owner, Installation]:
    """A migrated database; tests change what leads to it."""
    owner = Owner("refusing", "right")
    installation = install(provider.url(owner, "refusing"), DATABASE_TENANT_ROLE="refusing_tenant")
    if not provider.sql("SELECT 1 FROM pg_database WHERE datname = 'refusing'"):
        provider.database("refusing", provider.owner("refusing", createrole=True, password=owner.password))
        installation.migrate()
    return provider, owner, installation


async def refused_by_all(installation: Installation, *reasons: str) -> None:
    """`migrate`, `prune` and `serve` each give the reason, and never the password."""
    migrate, prune, serve = await asyncio.gather(
        asyncio.to_thread(installation.refused, "migrate"),
        asyncio.to_thread(installation.refused, "prune", "--dry-run"),
        installation.ends(),
    )
    said = {"migrate": migrate, "prune": prune, "serve": serve}
    for command, words in said.items():
        assert any(reason in words for reason in reasons), f"{command} says: {words}"
        assert "hunter22" not in words


async def test_a_wrong_password(prepared: tuple[Cluster, Owner, Installation]) -> None:
    cluster, _, installation = prepared
    installation.url = cluster.url(Owner("refusing", "hunter22"), "refusing")
    await refused_by_all(installation, "password authentication failed")


async def test_a_database_that_is_not_there(prepared: tuple[Cluster, Owner, Installation]) -> None:
    cluster, owner, installation = prepared
    installation.url = cluster.url(owner, "refusing_typo")
    await refused_by_all(installation, 'database "refusing_typo" does not exist')


async def test_a_line_of_pg_hba(prepared: tuple[Cluster, Owner, Installation]) -> None:
    cluster, _, installation = prepared
    owner = cluster.owner("locked_out")
    cluster.reject("refusing", "locked_out")
    installation.url = cluster.url(owner, "refusing")
    await refused_by_all(installation, "pg_hba.conf")


async def test_a_user_without_rights_in_the_database(prepared: tuple[Cluster, Owner, Installation]) -> None:
    cluster, _, installation = prepared
    owner = cluster.owner("guest")
    installation.url = cluster.url(owner, "refusing")
    await refused_by_all(installation, "permission denied")


async def test_a_user_without_rights_in_an_empty_database(provider: Cluster, install: Install) -> None:
    owner, guest = provider.owner("host_of_guest"), provider.owner("guest_of_empty", createrole=True)
    provider.database("host_of_guest", owner)
    installation = install(provider.url(guest, "host_of_guest"), DATABASE_TENANT_ROLE="guest_tenant")
    assert "permission denied" in installation.refused("migrate")


async def test_connections_are_limited_to_none(prepared: tuple[Cluster, Owner, Installation]) -> None:
    """What passes is waited for by `serve`, and told by the others."""
    cluster, _, installation = prepared
    owner = cluster.owner("limited")
    cluster.sql("ALTER ROLE limited CONNECTION LIMIT 0")
    installation.url = cluster.url(owner, "refusing")
    assert "too many connections" in installation.refused("migrate")
    assert "too many connections" in installation.refused("prune", "--dry-run")


async def test_commands_name_a_port_that_nobody_listens_on(prepared: tuple[Cluster, Owner, Installation]) -> None:
    cluster, owner, installation = prepared
    installation.url = cluster.url(owner, "refusing", host="127.0.0.1:9")
    assert "Connection refused" in installation.refused("migrate")
    assert "Connection refused" in installation.refused("prune", "--dry-run")


async def test_a_database_of_a_newer_version(provider: Cluster, install: Install) -> None:
    owner = provider.owner("newer", createrole=True)
    installation = install(provider.database("newer", owner), DATABASE_TENANT_ROLE="newer_tenant")
    installation.migrate()
    provider.sql("UPDATE alembic_version SET version_num = '9999_later'", "newer")
    await refused_by_all(installation, "newer version")
    assert provider.sql("SELECT version_num FROM alembic_version", "newer") == [("9999_later",)]


async def test_another_secret_key(prepared: tuple[Cluster, Owner, Installation]) -> None:
    _, _, installation = prepared
    async with installation.serving():
        pass
    installation.settings["SECRET_KEY"] = "0f" * 32
    assert "SECRET_KEY" in await installation.ends()
    del installation.settings["SECRET_KEY"]
    async with installation.serving():
        pass


@pytest.mark.parametrize("typed", ["", "DATABASE_ULR"])
async def test_production_without_its_database(install: Install, typed: str) -> None:
    """Else the embedded database starts, empty, beside the real one."""
    misspelt = {typed: "postgresql://plant:hunter22@db.example/plant"} if typed else {}
    production = install(None, QRTRACK_ENV="production", PUBLIC_BASE_URL="https://qr.example", **misspelt)
    for words in (production.refused("migrate"), production.refused("prune"), await production.ends()):
        assert "DATABASE_URL" in words
    assert not (production.folder / "var/postgresql").exists()
