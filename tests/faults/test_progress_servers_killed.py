"""kill -9 of servers in the middle of a fan-out: senders repeat what got no answer, and it ends by itself."""

import asyncio
import os
import random
import signal
from pathlib import Path

import httpx2
import pytest

from fanout import FanOut
from faults.processes import ended, workers
from process import SECRET, free_port
from qrtrack.database import Database
from qrtrack.domain.identity import Caller
from qrtrack.integrations.tokens import sign_token
from qrtrack.services.recalculation import recalculate_progress
from ticking import HANG_SECONDS

RECORDS = 1037
SENDERS = 60
KILLS = 6


@pytest.fixture
def token(caller: Caller) -> str:
    return sign_token(
        SECRET, organisation_id=caller.organisation_id, user_id=caller.user_id, roles=caller.roles, hours=1
    )


async def test_a_fan_out_survives_its_servers(
    database: Database, caller: Caller, token: str, migrated_url: str, tmp_path: Path
) -> None:
    fan_out, over = await FanOut.announce(database, caller, RECORDS), asyncio.Event()
    ports = [free_port(), free_port()]
    senders = [Sender(fan_out, ports, token, range(first, RECORDS, SENDERS)) for first in range(SENDERS)]
    with workers(migrated_url, tmp_path) as started:
        for port in ports:
            await started.serve(port, "--no-worker")
        sending = [asyncio.create_task(sender.send_until(over)) for sender in senders]
        for kill in range(KILLS):
            await asyncio.sleep(random.uniform(0.1, 0.8))
            # The older of the two is killed; the other one goes on.
            os.kill(started.processes[-2].pid, signal.SIGKILL)
            await ended(started.processes[-2])
            await started.serve(ports[kill % 2], "--no-worker")
        assert (await fan_out.counts())[0] == "processing"
        over.set()
        await asyncio.gather(*sending)
    assert sum(sender.broken_off for sender in senders) > KILLS
    assert await fan_out.counts() == ("completed", RECORDS, RECORDS - 21, 21, 100)
    assert await fan_out.recorded() == {str(number): number % 50 != 0 for number in range(RECORDS)}
    assert (await recalculate_progress(database, silent_seconds=0)).repaired == 0


class Sender:
    """Has records of its own to report, the last of them at the end."""

    def __init__(self, fan_out: FanOut, ports: list[int], token: str, numbers: range) -> None:
        self._path = f"/api/progress/batches/{fan_out.batch_id}/records"
        self._ports = ports
        self._headers = {"Authorization": f"Bearer {token}"}
        self._numbers = numbers
        self.broken_off = 0

    async def send_until(self, over: asyncio.Event) -> None:
        """Some of its records again and again, as one does who got no answer; and then all of them."""
        async with httpx2.AsyncClient(headers=self._headers, timeout=HANG_SECONDS, trust_env=False) as client:
            while not over.is_set():
                await self._report(client, random.choices(self._numbers[:-1], k=2))
            for number in self._numbers:
                while not await self._report(client, [number]):
                    await asyncio.sleep(random.uniform(0.01, 0.1))

    async def _report(self, client: httpx2.AsyncClient, numbers: list[int]) -> bool:
        """To any of the servers; whether it was answered."""
        records = [{"key": str(number), "success": number % 50 != 0} for number in numbers]
        try:
            url = f"http://127.0.0.1:{random.choice(self._ports)}{self._path}"
            answer = await client.post(url, json={"records": records})
        except httpx2.HTTPError:
            self.broken_off += 1
            await asyncio.sleep(0.05)
            return False
        assert answer.status_code in (200, 503), answer.text
        return answer.status_code == 200
