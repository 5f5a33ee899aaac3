"""What was answered is there after a crash of a server whose provider switched synchronous_commit off."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx2
import pytest

from accurate import event
from environments.clusters import Cluster, Clusters
from environments.program import Installation, Site
from environments.story import bank, bank_settings, create_batch, dispatch, pack, prepare, tell_story, until
from process import SECRET
from qrtrack.domain.akselgate.faults import Fault
from qrtrack.sandbox import Sandbox

Install = Callable[..., Installation]

pytestmark = pytest.mark.parametrize("version", [15, 18])


@asynccontextmanager
async def forgetful(
    clusters: Clusters, install: Install, version: int, *, everywhere: bool
) -> AsyncIterator[tuple[Cluster, Installation, Site, Sandbox]]:
    """A server without a worker, whose own commits would write the log of everybody else's as well."""
    settings = {"wal_writer_delay": "10s", "bgwriter_delay": "10s", "autovacuum": "off"}
    cluster = clusters.cluster(version, **settings, **({"synchronous_commit": "off"} if everywhere else {}))
    owner = cluster.owner("forgetful", createrole=True)
    url = cluster.database("forgetful", owner, settings={} if everywhere else {"synchronous_commit": "off"})
    installation = install(url)
    installation.migrate()
    async with bank(calls_back=False) as gateway:
        settings = bank_settings(installation, gateway)
        async with installation.serving("--no-worker", **settings) as site:
            yield cluster, installation, site, gateway
    cluster.stop()


async def crash(cluster: Cluster, site: Site) -> None:
    cluster.crash()
    cluster.start()
    await site.until_ready()


async def test_acknowledged_writes_survive_a_crash(clusters: Clusters, install: Install, version: int) -> None:
    async with forgetful(clusters, install, version, everywhere=False) as (cluster, installation, site, gateway):
        events = [event(uuid=f"kept-{number}") for number in range(5)]
        received = await site.client.post("/webhook/accurate", json=events)
        assert received.status_code == 200
        await crash(cluster, site)
        assert cluster.sql("SELECT uuid FROM webhook_queue ORDER BY uuid", "forgetful") == [
            (f"kept-{number}",) for number in range(5)
        ]
        assert (await dispatch(site.client, "CRASHED", "CRASH")).status_code == 200
        await crash(cluster, site)
        assert (await dispatch(site.client, "CRASHED", "CRASH")).status_code == 409
        assert dict(gateway.taken) == {"CRASH1": 1, "CRASH2": 1}
        await _work_and_pack(cluster, site)
        await tell_story(install(installation.url))


async def test_an_attempt_in_flight_survives_a_crash(clusters: Clusters, install: Install, version: int) -> None:
    """The bank has the batch and has not answered yet: the second dispatch would be the second payment."""
    async with forgetful(clusters, install, version, everywhere=True) as (cluster, _, site, gateway):
        gateway.faults.append(Fault.HANG)
        first = asyncio.create_task(dispatch(site.client, "CRASHED", "CRASH"))

        async def sent() -> bool | None:
            return bool(gateway.taken) or None

        await until(sent)
        await crash(cluster, site)
        assert (await dispatch(site.client, "CRASHED", "CRASH")).status_code == 409
        assert (await first).status_code == 504
        assert (await dispatch(site.client, "CRASHED", "CRASH")).status_code == 409
        assert dict(gateway.taken) == {"CRASH1": 1, "CRASH2": 1}


async def _work_and_pack(cluster: Cluster, site: Site) -> None:
    """A box that the operator was told is packed must not be packed a second time with other units."""
    async with worked(site.client):
        batch = await create_batch(site.client, quantity=100)
        await prepare(site.client, batch)
    assert (await pack(site.client, batch, 1)).status_code == 200
    await crash(cluster, site)
    assert (await pack(site.client, batch, 1)).json()["type"] == "urn:qrtrack:problem:case-already-packed"


@asynccontextmanager
async def worked(client: httpx2.AsyncClient) -> AsyncIterator[None]:
    """Cron does the work meanwhile."""

    async def call() -> None:
        while True:
            headers = {"Authorization": f"Bearer {SECRET}"}
            await client.post("/api/worker/run", params={"max_seconds": 1}, headers=headers)

    calling = asyncio.create_task(call())
    try:
        yield
    finally:
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
