"""kill -9 of the server at random moments under load: every event that got its 200 is there once, under its id."""

import asyncio
import os
import random
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx2

from accurate import DATABASE, Accurate, event
from faults.processes import ended, until, workers
from process import free_port
from qrtrack.runtime import Runtime
from ticking import HANG_SECONDS

KILLS = 20
SENDERS = 12
SHARED = 40
DICE = random.Random(1)


class Sender:
    """Sends arrays to a server that may be gone at any moment, some events again and again; keeps what was promised."""

    def __init__(self, port: int) -> None:
        self._client = httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=HANG_SECONDS, trust_env=False)
        self._shared = [event("ITEM", {"itemId": number}, uuid=f"shared-{number}") for number in range(SHARED)]
        self.promised: dict[str, set[int]] = {}
        self.broken_off = 0

    async def send_until(self, over: asyncio.Event, name: str) -> None:
        number = 0
        while not over.is_set():
            number += 1
            own = [event("CUSTOMER", {"customerId": part}, uuid=f"{name}-{number}-{part}") for part in range(3)]
            await self._send(own + DICE.sample(self._shared, 3))

    async def _send(self, events: Sequence[dict[str, Any]]) -> None:
        try:
            answer = await self._client.post("/webhook/accurate", json=list(events))
        except httpx2.HTTPError:
            self.broken_off += 1
            await asyncio.sleep(0.02)
            return
        if answer.status_code == 200:
            for result in answer.json()["results"]:
                self.promised.setdefault(result["uuid"], set()).add(result["queue_id"])

    async def close(self) -> None:
        await self._client.aclose()


async def test_every_event_that_got_its_200_is_there_once(
    accurate: Accurate, runtime: Runtime, migrated_url: str, tmp_path: Path
) -> None:
    port = free_port()
    owner = "5e1d8a4e-9d0c-4a52-8a53-0a4a4c8d0c11"
    sender, over = Sender(port), asyncio.Event()
    with workers(migrated_url, tmp_path, accurate_databases=f"{DATABASE}={owner}", lease_seconds=1) as started:
        await started.serve(port)
        sending = [asyncio.create_task(sender.send_until(over, f"s{number}")) for number in range(SENDERS)]
        for _ in range(KILLS):
            before = len(sender.promised)
            await asyncio.sleep(DICE.uniform(0.05, 0.8))
            await until(lambda seen=before: promised_more(sender, seen))  # type: ignore[misc]
            os.kill(started.processes[-1].pid, signal.SIGKILL)
            await ended(started.processes[-1])
            await started.serve(port)
        over.set()
        await asyncio.gather(*sending)
        await sender.close()
        await check(accurate, sender)
        await until(lambda: drained(accurate))
    assert sender.broken_off >= KILLS
    (found,) = await accurate.sql("SELECT count(*) AS documents FROM accurate_documents WHERE type = 'ITEM'")
    assert found.documents == SHARED


async def check(accurate: Accurate, sender: Sender) -> None:
    rows = await accurate.sql("SELECT id, uuid FROM webhook_queue")
    stored = {row.uuid: row.id for row in rows}
    assert len(stored) == len(rows)
    assert {uuid: ids for uuid, ids in sender.promised.items() if ids != {stored.get(uuid)}} == {}
    assert len(sender.promised) > KILLS * SENDERS


async def promised_more(sender: Sender, than: int) -> bool:
    return len(sender.promised) > than


async def drained(accurate: Accurate) -> bool:
    (row,) = await accurate.sql("SELECT count(*) AS waiting FROM webhook_queue WHERE status <> 'done'")
    return bool(row.waiting == 0)
