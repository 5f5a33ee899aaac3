"""DATABASE_URL as providers print it, on one migrated database with TLS and a socket."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives import serialization

from certificates import Authority
from cluster import needed
from environments.clusters import Cluster, Clusters, Owner
from environments.machine import Machine
from environments.program import Installation
from environments.story import tell_story

Install = Callable[..., Installation]

PASSWORD = "p@ss/w%rd#1?:&=+ é"


@dataclass
class Provider:
    cluster: Cluster
    owner: Owner
    socket: Path
    root_certificate: Path

    def url(self, query: str = "", **changes: str) -> str:
        return self.cluster.url(self.owner, "managed", query=query, **changes)


@pytest.fixture(scope="module")
def managed(clusters: Clusters, machine: Machine) -> Iterator[Provider]:
    """Debian's 15, since the wheel's servers know no TLS: the address is the program's business, not the version's."""
    needed(15)
    folder = machine.subfolder("managed")
    folder.chmod(0o755)
    certificate, key, root = _certificates(machine, folder)
    cluster = clusters.cluster(
        15, ssl="on", ssl_cert_file=str(certificate), ssl_key_file=str(key), unix_socket_directories=str(folder)
    )
    owner = cluster.owner("user@tenant.eu", createrole=True, password=PASSWORD)
    cluster.database("managed", owner)
    provider = Provider(cluster, owner, folder, root)
    Installation(machine, provider.url()).migrate()
    yield provider
    cluster.stop()


def _certificates(machine: Machine, folder: Path) -> tuple[Path, Path, Path]:
    authority = Authority(folder)
    authority.server("localhost")
    both = folder / "localhost.pem"
    key, root = folder / "server.key", folder / "root.crt"
    root.write_bytes(authority._certificate.public_bytes(serialization.Encoding.PEM))
    machine.give(both, 0o600)
    machine.give(root, 0o644)
    key.write_bytes(both.read_bytes())
    machine.give(key, 0o600)
    return both, key, root


FORMS = {
    "heroku": "postgres://{user}:{password}@{host}/managed",
    "sqlalchemy": "postgresql+asyncpg://{user}:{password}@{host}/managed",
    "rds": "postgresql://{user}:{password}@{host}/managed?sslmode=verify-full&sslrootcert={root}",
    "verify-ca": "postgresql://{user}:{password}@{host}/managed?sslmode=verify-ca&sslrootcert={root}",
    "neon": "postgresql://{user}:{password}@{host}/managed?sslmode=require&channel_binding=require",
    "channel binding preferred": "postgresql://{user}:{password}@{host}/managed?channel_binding=prefer",
    "digital ocean": "postgresql://{user}:{password}@{host}/managed?sslmode=require",
    "no tls": "postgresql://{user}:{password}@{host}/managed?sslmode=disable",
    "supabase": "postgresql://{user}:{password}@{host}/managed?sslmode=require&connect_timeout=10",
    "azure": "postgresql://{host}/managed?user={user}&password={password}&sslmode=require",
    "application name": "postgresql://{user}:{password}@{host}/managed?application_name=packing%20line",
    "options": "postgresql://{user}:{password}@{host}/managed?options=-c%20statement_timeout%3D7777",
    "keepalives": "postgresql://{user}:{password}@{host}/managed?keepalives=1&keepalives_idle=30&keepalives_interval=5",
    "cloud sql socket": "postgresql://{user}:{password}@/managed?host={socket}&port={port}",
    "socket as host": "postgresql://{user}:{password}@{quoted_socket}:{port}/managed",
    "two hosts": "postgresql://{user}:{password}@127.0.0.1:9,{host}/managed?target_session_attrs=read-write",
    "two hosts in the query": "postgresql://{user}:{password}@/managed?host=127.0.0.1:9&host={host}",
    "hosts and ports apart": "postgresql://{user}:{password}@/managed?host=127.0.0.1,localhost&port=9,{port}",
}


def address(managed: Provider, form: str) -> str:
    return FORMS[form].format(
        user=quote(managed.owner.name, safe=""),
        password=quote(PASSWORD, safe=""),
        host=f"localhost:{managed.cluster.port}",
        port=managed.cluster.port,
        socket=managed.socket,
        quoted_socket=quote(str(managed.socket), safe=""),
        root=managed.root_certificate,
    )


@pytest.mark.parametrize("form", FORMS)
def test_a_form_of_a_provider_leads_to_the_database(managed: Provider, install: Install, form: str) -> None:
    # The authorities that this machine trusts.
    done = install(address(managed, form), SSL_CERT_FILE=str(managed.root_certificate)).run("prune", "--dry-run")
    assert done.returncode == 0, done.stderr[-2000:]


async def test_every_connection_gets_the_whole_address(managed: Provider, install: Install) -> None:
    """Pool, webhooks, health and wake-ups: each says its name and has the options."""
    query = "sslmode=require&application_name=whole%20address&options=-c%20statement_timeout%3D7777"
    installation = install(managed.url(query))
    await tell_story(installation)
    async with installation.serving() as site:
        await asyncio.gather(*(site.client.post("/webhook/accurate", json=[]) for _ in range(4)), site.ready())
        found = managed.cluster.sql(
            "SELECT DISTINCT a.application_name, s.ssl FROM pg_stat_activity a JOIN pg_stat_ssl s USING (pid)"
            " WHERE a.datname = 'managed' AND a.pid <> pg_backend_pid()",
        )
    assert found == [("whole address", "t")]


@pytest.mark.parametrize("wrong", ["\n", " ", "\r\n"])
def test_white_space_around_the_address_is_harmless_or_named(managed: Provider, install: Install, wrong: str) -> None:
    """A secret that was made with `echo` ends with a line end."""
    installation = install(managed.url() + wrong)
    done = installation.run("prune", "--dry-run")
    if done.returncode:
        assert "DATABASE_URL" in installation.refused("prune", "--dry-run", lines=2)


@pytest.mark.parametrize("query", ["surprise=1", "sslmode=sometimes", "target_session_attrs=fast", "sslrootcert=/none"])
def test_an_unknown_parameter_is_named(managed: Provider, install: Install, query: str) -> None:
    words = install(managed.url(f"sslmode=verify-full&{query}" if "root" in query else query)).refused("migrate")
    assert query.partition("=")[0] in words
    assert quote(PASSWORD, safe="") not in words


def test_a_certificate_of_somebody_else_is_refused(managed: Provider, install: Install) -> None:
    words = install(managed.url("sslmode=verify-full", host=f"localhost:{managed.cluster.port}")).refused("migrate")
    assert "certificate" in words.lower()
