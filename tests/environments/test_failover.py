"""A primary with a synchronous standby that takes over under load: both are named in DATABASE_URL."""

import asyncio
from collections.abc import Callable
from itertools import count

import httpx2
import pytest

from accurate import event
from environments.clusters import Cluster, Clusters
from environments.program import Installation, Site
from environments.story import tell_story, until

Install = Callable[..., Installation]


@pytest.mark.parametrize(("version", "ending"), [(15, "immediate"), (18, "fast")])
@pytest.mark.parametrize("form", ["hosts", "query"])
async def test_a_standby_takes_over_under_load(
    clusters: Clusters, install: Install, version: int, ending: str, form: str
) -> None:
    primary = clusters.cluster(version)
    owner = primary.owner("replicated", createrole=True)
    primary.database("replicated", owner)
    standby = primary.standby()
    await _synchronous(primary)
    hosts = f"{standby.host},{primary.host}"
    if form == "hosts":
        url = primary.url(owner, "replicated", host=hosts, query="target_session_attrs=read-write")
    else:
        listed = f"host=127.0.0.1:{standby.port}&host=127.0.0.1:{primary.port}&target_session_attrs=read-write"
        url = primary.url(owner, "replicated", host="", query=listed)
    installation = install(url)
    installation.migrate()
    async with installation.serving() as site:
        acknowledged: list[str] = []
        load = [asyncio.create_task(_push(site, acknowledged, name)) for name in "abcd"]
        await _grown(acknowledged, 20)
        primary.stop(ending)
        await asyncio.sleep(0.5)
        standby.promote()
        await _grown(acknowledged, 20)
        await site.until_ready()
        for task in load:
            task.cancel()
        await asyncio.gather(*load, return_exceptions=True)
        kept = {uuid for (uuid,) in standby.sql("SELECT uuid FROM webhook_queue", "replicated")}
        assert set(acknowledged) <= kept
    await tell_story(install(url))
    standby.stop()


async def _synchronous(primary: Cluster) -> None:
    """From now on a commit is answered when the standby has it."""
    primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
    primary.sql("SELECT pg_reload_conf()")

    async def attached() -> bool | None:
        return primary.sql("SELECT sync_state FROM pg_stat_replication") == [("sync",)] or None

    await until(attached)


async def _push(site: Site, acknowledged: list[str], name: str) -> None:
    """Accurate's side: sends again what was not answered with 200."""
    for number in count():
        uuid = f"{name}-{number}"
        while True:
            try:
                answer = await site.client.post("/webhook/accurate", json=[event(uuid=uuid)])
            except httpx2.TransportError as error:
                raise AssertionError(f"the server itself is gone: {error!r}") from error
            if answer.status_code == 200:
                acknowledged.append(uuid)
                break
            assert answer.status_code == 503, answer.text
            await asyncio.sleep(0.1)


async def _grown(acknowledged: list[str], more: int) -> None:
    wanted = len(acknowledged) + more

    async def enough() -> bool | None:
        return len(acknowledged) >= wanted or None

    await until(enough, seconds=60)
