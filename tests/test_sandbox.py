"""The stand-in gateway: its output, its faults and its callbacks."""

import asyncio
import subprocess
import sys
from typing import Any

import httpx2
import pytest

from qrtrack import sandbox
from qrtrack.domain.akselgate.faults import Fault
from qrtrack.sandbox import TOKEN, Sandbox
from ticking import HANG_SECONDS, altered
from treasury import Treasury, rows

BATCH: dict[str, Any] = {
    "requestId": "7",
    "totalTx": "1",
    "data": [
        {"referenceNumber": "R1", "amount": "5", "debitAccount": "1000000001", "creditAccount": "2000000002"}
        | {"callback_url": "http://127.0.0.1:1/callback"}
    ],
}
SIGNED_IN = {"Authorization": f"Bearer {TOKEN}"}


async def test_the_command_prints_its_address_and_masked_requests() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "qrtrack.cli", "sandbox", "--port", "0", "--callback-seconds", "0",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    said = [(await process.stdout.readline()).decode() for _ in range(4)]
    address = said[1].split("AKSELGATE_BASE_URL=")[1].split()[0]
    async with httpx2.AsyncClient(base_url=address, trust_env=False, timeout=HANG_SECONDS) as client:
        token = (await client.post("/login", json={})).json()["data"]["token"]
        taken = await client.post("/transaction/insert", json=BATCH, headers={"Authorization": f"Bearer {token}"})
        refused = await client.post("/transaction/insert", json=BATCH)
    process.terminate()
    rest = (await process.stdout.read()).decode()
    await process.wait()
    assert (taken.status_code, refused.status_code) == (201, 401)
    assert "request 7: 1 rows, sum 5, taken" in rest
    assert "******0001" in rest
    assert "1000000001" not in rest


async def test_faults_can_be_set_for_a_number_of_batches_or_until_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    is_closed, is_over, listens_again = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def sleep(seconds: float) -> None:
        assert seconds == 7
        is_closed.set()
        await is_over.wait()

    monkeypatch.setattr(sandbox, "asyncio", altered(asyncio, sleep=sleep))
    gateway = Sandbox(callback_seconds=None, say=lambda line: listens_again.set() if "listening" in line else None)
    await gateway.start()
    async with httpx2.AsyncClient(
        base_url=gateway.address, trust_env=False, headers=SIGNED_IN, timeout=HANG_SECONDS
    ) as client:
        await client.post("/sandbox/fault", json={"fault": "500", "times": 2})
        statuses = [(await client.post("/transaction/insert", json=BATCH)).status_code for _ in range(3)]
        await client.post("/sandbox/fault", json={"fault": "duplicate", "times": None})
        statuses += [(await client.post("/transaction/insert", json=BATCH)).status_code for _ in range(3)]
        assert statuses == [500, 500, 201, 409, 409, 409]
        await client.post("/sandbox/fault", json={"fault": "refuse", "seconds": 7})
        await asyncio.wait_for(is_closed.wait(), HANG_SECONDS)
        with pytest.raises(httpx2.ConnectError):
            await client.post("/login")
        is_over.set()
        await asyncio.wait_for(listens_again.wait(), HANG_SECONDS)
        assert (await client.post("/login")).status_code == 200
        assert (await client.get("/elsewhere")).status_code == 404
    await gateway.stop()


async def test_the_sandbox_calls_back_for_every_reference(treasury: Treasury) -> None:
    called: list[str] = []

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        called.append((await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(receive, "127.0.0.1", 0)
    treasury.gateway.callback_seconds = 0
    said: list[str] = []
    treasury.gateway.say = said.append
    host, port = server.sockets[0].getsockname()
    object.__setattr__(treasury.runtime.dispatcher, "callback_base_url", f"http://{host}:{port}")
    await treasury.dispatch(transactions=rows("R1", "FAIL1"))
    while len(called) < 2 or len(said) < 4:
        await asyncio.sleep(0.01)
    server.close()
    assert [query.partition("?")[2] for query in called] == [
        "ref=R1&rescore=00&rescoreref=BANK-R1",
        "ref=FAIL1&rescore=51&rescoreref=BANK-FAIL1",
    ]
    assert Fault.NONE in said[1]
