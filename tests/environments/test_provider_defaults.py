"""Settings of a server or a database that are the provider's: encodings, isolation, timeouts, few connections."""

import asyncio
from collections.abc import Callable

import asyncpg
import pytest

from accurate import event
from environments.clusters import Cluster, Clusters
from environments.program import Installation
from environments.story import create_batch, pack, prepare, tell_story

Install = Callable[..., Installation]

STATIONS = 40


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
async def test_an_encoding_that_cannot_hold_every_text_is_refused(
    provider: Cluster, install: Install, encoding: str
) -> None:
    name = f"encoded_{encoding.lower()}"
    owner = provider.owner(name, createrole=True)
    installation = install(provider.database(name, owner, encoding=encoding), DATABASE_TENANT_ROLE=f"{name}_tenant")
    words = installation.refused("migrate")
    assert encoding in words
    assert "UTF8" in words
    assert provider.sql("SELECT 1 FROM pg_tables WHERE schemaname = 'public'", name) == []


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
async def test_many_stations_link_at_once_whatever_the_default_isolation(
    provider: Cluster, install: Install, isolation: str
) -> None:
    name = f"isolated_{isolation.replace(' ', '_')}"
    owner = provider.owner(name, createrole=True)
    url = provider.database(name, owner, settings={"default_transaction_isolation": isolation})
    installation = install(url, DATABASE_TENANT_ROLE=f"{name}_tenant")
    installation.migrate()
    async with installation.serving() as site:
        batch = await create_batch(site.client, quantity=10 * STATIONS, units_per_case=10)
        await prepare(site.client, batch)
        answers = await asyncio.gather(*(pack(site.client, batch, case) for case in range(1, STATIONS + 1)))
    refused = [answer.text for answer in answers if answer.status_code != 200]
    assert not refused, f"{len(refused)} of {STATIONS} links failed, the first: {refused[0]}"
    assert len({code for answer in answers for code in answer.json()["linked_codes"]}) == 10 * STATIONS
    await tell_story(install(url, DATABASE_TENANT_ROLE=f"{name}_tenant"))


async def test_a_statement_timeout_of_the_provider_is_named_in_the_log(provider: Cluster, install: Install) -> None:
    owner = provider.owner("hurried", createrole=True)
    url = provider.database("hurried", owner, settings={"statement_timeout": "4s", "lock_timeout": "5s"})
    installation = install(url, DATABASE_TENANT_ROLE="hurried_tenant")
    installation.migrate()
    await tell_story(installation)
    async with installation.serving() as site:
        batch = await create_batch(site.client, quantity=10, units_per_case=10)
        await prepare(site.client, batch)
        holder = await asyncpg.connect(url)
        try:
            await holder.execute("SET statement_timeout = 0; BEGIN; LOCK TABLE qr_codes IN ACCESS EXCLUSIVE MODE")
            answer = await pack(site.client, batch, 1)
        finally:
            await holder.close()
        assert answer.status_code == 503, answer.text
        assert "statement timeout" in site.log()
        assert (await pack(site.client, batch, 1)).status_code == 200


@pytest.mark.parametrize("version", [15, 18])
async def test_few_connections_are_waited_for_and_told_at_the_start(
    clusters: Clusters, install: Install, version: int
) -> None:
    """12 connections, 3 of which are the superuser's: less than the pools of one process may open."""
    cluster = clusters.cluster(version, max_connections="12", superuser_reserved_connections="3", max_wal_senders="0")
    owner = cluster.owner("crowded", createrole=True)
    installation = install(cluster.database("crowded", owner), DATABASE_POOL_SIZE="20")
    installation.migrate()
    async with installation.serving() as site:
        warned = site.log()
        batch = await create_batch(site.client, quantity=600, units_per_case=10)
        await prepare(site.client, batch)
        links = [pack(site.client, batch, case) for case in range(1, 61)]
        events = [site.client.post("/webhook/accurate", json=[event(uuid=f"crowd-{number}")]) for number in range(60)]
        answers = await asyncio.gather(*links, *events)
    refused = [f"{answer.request.url.path}: {answer.text}" for answer in answers if answer.status_code != 200]
    assert not refused, f"{len(refused)} of {len(answers)} requests failed, the first: {refused[0]}"
    assert "max_connections" in warned, f"no warning at the start:\n{warned}"
    await tell_story(install(installation.url, DATABASE_POOL_SIZE="20"))
    cluster.stop()
