"""Money on its way while the gateway misbehaves and processes die: nothing is ever sent twice."""

import asyncio
import json
import random
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from faults.processes import Workers, kill_now, workers
from process import free_port
from qrtrack.domain.akselgate.faults import Fault
from qrtrack.sandbox import Answer, Request, Scripted
from qrtrack.services.akselgate.attempts import sweep_attempts
from qrtrack.settings import Settings
from ticking import HANG_SECONDS
from treasury import PASSWORD, Treasury, open_treasury, rows

SETTLEMENTS = 200
FAULTS = 1000
DEADLINE = 1.0
SENDERS = 24
READABLE = b'{"responseCode": "A7", "responseMessage": "no"}'
MISDEEDS: list[Answer] = [
    *[fault for fault in Fault if fault not in {Fault.NONE, Fault.REFUSE}],
    *[Scripted(status, READABLE) for status in (400, 401, 403, 422, 429)],
    *[Scripted(status, READABLE, taken=True) for status in (202, 408, 500, 502, 503, 504)],
    Scripted(200, b"", taken=True),
]


class Office:
    """Finance before a real server, which may be gone at any moment."""

    def __init__(self, treasury: Treasury, started: Workers, port: int) -> None:
        self.treasury = treasury
        self.started = started
        self.port = port
        self.client = httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=HANG_SECONDS, trust_env=False)

    async def serve(self) -> subprocess.Popen[bytes]:
        return await self.started.serve(self.port, "--no-worker")

    async def dispatch(self, kd_settle: str, *references: str) -> httpx2.Response | None:
        """None where the server went away before its answer."""
        body = {"transaction_type": "CA_ESCROW", "kd_settle": kd_settle, "transactions": rows(*references)}
        headers = {"Authorization": f"Bearer {self.treasury.token(self.treasury.finance)}"}
        try:
            return await self.client.post("/api/akselgate/dispatch", json=body, headers=headers)
        except httpx2.HTTPError:
            return None


@asynccontextmanager
async def office(settings: Settings, folder: Path, *, deadline: float) -> AsyncIterator[Office]:
    async with open_treasury(settings, akselgate_deadline_seconds=deadline) as treasury:
        given: dict[str, Any] = {
            "akselgate_base_url": treasury.gateway.address,
            "akselgate_username": "qrtrack",
            "akselgate_password": PASSWORD,
            "akselgate_organisation": treasury.organisation_id,
            "akselgate_amount_scale": 0,
            "akselgate_deadline_seconds": deadline,
            "shutdown_grace_seconds": 1,
        }
        url = settings.database_url
        assert url is not None
        with workers(url, folder, **given) as started:
            finance = Office(treasury, started, free_port())
            try:
                yield finance
            finally:
                await finance.client.aclose()


async def test_a_server_killed_while_it_sends_leaves_an_unknown_and_no_second_send(
    settings: Settings, tmp_path: Path
) -> None:
    async with office(settings, tmp_path, deadline=5) as finance:
        treasury = finance.treasury
        process = await finance.serve()
        arrived = asyncio.Event()

        async def hang(_request: Request) -> None:
            arrived.set()
            await asyncio.Event().wait()

        treasury.gateway.on_insert = hang
        request = asyncio.create_task(finance.dispatch("STL1", "R1"))
        await arrived.wait()
        await kill_now([process])
        assert await request is None
        treasury.gateway.on_insert = None
        assert [attempt.outcome for attempt in await treasury.attempts()] == ["sending"]
        await finance.serve()
        again = await finance.dispatch("STL1", "R1")
        assert again is not None
        assert again.json()["type"] == "urn:qrtrack:problem:dispatch-in-progress"
        await treasury.age(11)
        assert await sweep_attempts(treasury.runtime.database) == 1
        frozen = await finance.dispatch("STL1", "R1")
        assert frozen is not None
        assert frozen.json()["type"] == "urn:qrtrack:problem:outcome-unknown"
        assert len(treasury.gateway.requests) == 1


@pytest.mark.parametrize("hangs_up", [False, True])
async def test_a_server_told_to_stop_waits_for_the_dispatch_beyond_its_grace(
    settings: Settings, tmp_path: Path, *, hangs_up: bool
) -> None:
    """The grace is one second, the gateway takes three. The caller, where still there, has the answer."""
    async with office(settings, tmp_path, deadline=20) as finance:
        treasury = finance.treasury
        process = await finance.serve()
        arrived = asyncio.Event()

        async def slow(_request: Request) -> None:
            arrived.set()
            await asyncio.sleep(3)

        treasury.gateway.on_insert = slow
        request = asyncio.create_task(finance.dispatch("STL1", "R1"))
        await arrived.wait()
        if hangs_up:
            request.cancel()
            await asyncio.gather(request, return_exceptions=True)
        await kill_now([process], signal.SIGTERM)
        assert process.returncode == 0
        if not hangs_up:
            answer = await request
            assert answer is not None
            assert answer.json()["outcome"] == "accepted"
        assert [attempt.outcome for attempt in await treasury.attempts()] == ["accepted"]
        assert len(treasury.gateway.requests) == 1


class Proof:
    """The gateway misbehaves with every batch, two servers are killed now and then, and finance tries again and again.

    An administrator resolves by the bank's own record. What the bank has taken it pays: then the settlement goes on to
    its next round, with other references.
    """

    def __init__(self, *offices: Office) -> None:
        self.offices = offices
        self.treasury = offices[0].treasury
        self.gateway = self.treasury.gateway
        self.dice = random.Random("a thousand faults")
        self.rounds = {f"STL{number:03}": 0 for number in range(SETTLEMENTS)}
        self.tried: set[str] = set()
        self.given = self.kills = 0
        self._seen, self._since = 0, time.monotonic()

    @property
    def misdeeds(self) -> int:
        """What has befallen so far: faults that a batch has met, and kills."""
        return self.given - len(self.gateway.faults) + self.kills

    @property
    def goes_on(self) -> bool:
        """Until all has happened, however long that takes."""
        if self.misdeeds > self._seen:
            self._seen, self._since = self.misdeeds, time.monotonic()
        assert time.monotonic() - self._since < HANG_SECONDS, f"nothing happens any more after {self._seen} faults"
        return self.misdeeds < FAULTS or len(self.tried) < SETTLEMENTS

    async def send(self) -> None:
        while self.goes_on:
            while len(self.gateway.faults) < 2 * SENDERS:
                self.gateway.faults.append(self.dice.choice(MISDEEDS))
                self.given += 1
            settlement = self.dice.choice(list(self.rounds))
            number = self.rounds[settlement]
            office = self.dice.choice(self.offices)
            if await office.dispatch(settlement, *names(settlement, number)) is None:
                await asyncio.sleep(0.1)
            else:
                self.tried.add(settlement)

    async def kill(self, office: Office) -> None:
        server = await office.serve()
        while self.goes_on:
            await asyncio.sleep(self.dice.uniform(1, 6))
            await kill_now([server])
            self.kills += 1
            server = await office.serve()

    async def tend(self) -> None:
        while self.goes_on:
            await asyncio.sleep(0.05)
            await self.settle()

    async def settle(self) -> None:
        await sweep_attempts(self.treasury.runtime.database)
        found = await self.treasury.sql(
            "SELECT log.id, log.kd_settle, outcome, reference_number FROM t_akselgate_transaction_log AS log"
            " JOIN t_akselgate_open_attempts AS held ON held.attempt_id = log.id"
            " JOIN t_akselgate_transaction_rows AS line ON line.attempt_id = log.id AND line.row_number = 1"
            " WHERE outcome IN ('unknown', 'accepted')"
        )
        await asyncio.gather(*(self.settle_one(attempt) for attempt in found))

    async def settle_one(self, attempt: Any) -> None:
        is_taken = self.gateway.taken[attempt.reference_number] > 0
        if attempt.outcome == "unknown":
            await self.treasury.resolve(attempt.id, "accepted" if is_taken else "not_sent")
        if is_taken:
            for name in names(attempt.kd_settle, self.rounds[attempt.kd_settle]):
                assert (await self.treasury.call_back(attempt.id, name)).status_code == 200
            self.rounds[attempt.kd_settle] += 1
        else:
            assert attempt.outcome == "unknown"


def names(settlement: str, number: int) -> tuple[str, str]:
    return f"{settlement}-{number}-A", f"{settlement}-{number}-B"


async def test_a_thousand_faults_and_kills_over_two_hundred_settlements_pay_nothing_twice(
    settings: Settings, tmp_path: Path
) -> None:
    async with office(settings, tmp_path, deadline=DEADLINE) as finance:
        other = Office(finance.treasury, finance.started, free_port())
        proof = Proof(finance, other)
        try:
            await asyncio.gather(
                *(proof.kill(each) for each in proof.offices), proof.tend(), *(proof.send() for _ in range(SENDERS))
            )
        finally:
            await other.client.aclose()
        assert proof.misdeeds >= FAULTS
        assert proof.kills >= 5
        await hold_against_the_record(proof)


async def hold_against_the_record(proof: Proof) -> None:
    """The bank's own: nothing taken twice, nothing that the log does not know to the byte, nothing called unpaid."""
    gateway = proof.gateway
    assert [reference for reference, times in gateway.taken.items() if times > 1] == []
    assert len(proof.tried) == SETTLEMENTS
    attempts = {attempt.request_id: attempt for attempt in await proof.treasury.attempts()}
    assert {attempt.kd_settle for attempt in attempts.values()} >= proof.tried
    sent = [json.loads(request.body) for request in gateway.requests]
    assert len({content["requestId"] for content in sent}) == len(sent)
    for content, request in zip(sent, gateway.requests, strict=True):
        assert attempts[content["requestId"]].request_payload.encode() == request.body
    assert set(gateway.taken) <= {row.reference_number for row in await locked_or_paid(proof.treasury)}


async def locked_or_paid(treasury: Treasury) -> Any:
    return await treasury.sql("SELECT reference_number FROM t_akselgate_transaction_rows WHERE locked")
