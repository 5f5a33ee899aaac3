"""The attacks of `benchmarks/fair_share`, each by a process of its own on a real server: what they get is counted.

Seconds are the benchmark's matter. Here bytes, errors, places and connections are held against their limits while the
attack goes on, a neighbour of another organisation packs, and everything is given back when the attacker has gone.
"""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import psutil
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from benchmarks.attacks import ADDRESS, ATTACKS, MIB, Target
from plant import Plant
from process import SECRET, settings_of
from qrtrack import http_limits, listening
from qrtrack.domain.identity import Caller, Role
from qrtrack.http_limits import ConnectionLimits
from qrtrack.integrations.tokens import sign_token
from qrtrack.limits import body_budget, long_polls
from qrtrack.runtime import Runtime
from qrtrack.serving import server_of
from qrtrack.settings import Settings
from ticking import HANG_SECONDS

ROOT = Path(__file__).parents[2]
ATTACKER = Caller(str(uuid4()), uuid4(), frozenset({Role.ADMIN}))
CONNECTIONS_OF_ONE = 300
CASES = 5


@pytest.fixture
def settings(migrated_url: str, tmp_path: Path) -> Settings:
    return settings_of(
        migrated_url, tmp_path,
        akselgate_base_url="http://127.0.0.1:1", akselgate_username="plant", akselgate_password=SECRET,
        akselgate_organisation=ATTACKER.organisation_id, akselgate_amount_scale=0, accurate_webhook_token=SECRET,
        max_connections_per_address=CONNECTIONS_OF_ONE,
    )  # fmt: skip


@dataclass
class Watched:
    """A server with what it answered to the attacker, and the most that it held for them at any look."""

    runtime: Runtime
    limits: ConnectionLimits
    port: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    # Refused before there was a request.
    refusals: Counter[int] = field(default_factory=Counter)
    longest_answer: int = 0
    most_errors: int = 0
    most: Counter[str] = field(default_factory=Counter)

    def counting(self, app: ASGIApp) -> ASGIApp:
        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            body = bytearray()

            async def note(message: Message) -> None:
                body.extend(message.get("body", b""))
                if message["type"] == "http.response.start":
                    self.statuses[message["status"]] += 1
                elif not message.get("more_body"):
                    self._note_answer(bytes(body))
                await send(message)

            of_attacker = scope["type"] == "http" and scope["client"][0] == ADDRESS[0]
            await app(scope, receive, note if of_attacker else send)

        return counted

    def _note_answer(self, body: bytes) -> None:
        self.longest_answer = max(self.longest_answer, len(body))
        if body.startswith(b"{"):
            self.most_errors = max(self.most_errors, len(json.loads(body).get("errors", ())))

    def held(self) -> dict[str, int]:
        bodies = self.runtime.bodies.held
        return {
            "bytes of bodies": bodies.total(),
            "bytes of one share": max(bodies.values(), default=0),
            "long polls": self.runtime.long_polls.waiting,
            "connections": self.limits.by_address[ADDRESS[0]],
            "database connections": self.runtime.database.pool_use()["main"]["in_use"],
        }

    async def look(self) -> None:
        process = psutil.Process()
        before = process.memory_info().rss
        while True:
            for name, value in (self.held() | {"memory": process.memory_info().rss - before}).items():
                self.most[name] = max(self.most[name], value)
            await asyncio.sleep(0.005)

    async def until(self, holds: Callable[["Watched"], bool]) -> None:
        async with asyncio.timeout(HANG_SECONDS):
            while not holds(self):
                await asyncio.sleep(0.01)


@pytest.fixture
async def watched(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    limits = ConnectionLimits.of(runtime.settings)
    monkeypatch.setattr(ConnectionLimits, "of", lambda _: limits)
    watched = Watched(runtime, limits)
    refusal = http_limits._refusal

    def counted(status: int) -> bytes:
        watched.refusals[status] += 1
        return refusal(status)

    monkeypatch.setattr(http_limits, "_refusal", counted)
    server = server_of(runtime)
    app: Any = server.config.app
    server.config.app = watched.counting(app)
    with listening.bound("127.0.0.1", 0) as sockets:
        watched.port = sockets[0].getsockname()[1]
        listening.listen(sockets)
        serving = asyncio.create_task(server.serve(sockets))
        await watched.until(lambda _: server.started)
        yield watched
        server.should_exit = True
        await serving


def token_of(caller: Caller) -> str:
    return sign_token(
        SECRET, organisation_id=caller.organisation_id, user_id=caller.user_id, roles=caller.roles, hours=1
    )


@asynccontextmanager
async def attacked(name: str, watched: Watched) -> AsyncIterator[None]:
    theirs = Plant(watched.runtime, ATTACKER)
    batch = await theirs.prepared(10, units_per_case=5, serial_prefix="ATK")
    # Nobody works: a poll of it waits.
    job_id = await theirs.submit(batch)
    target = Target(
        watched.port, token_of(ATTACKER), SECRET, str(batch.batch_id), str(batch.order_id), batch.master_codes[0],
        str(job_id),
        divisor=10,
    )  # fmt: skip
    command = (sys.executable, "-m", "benchmarks.attacks", name, json.dumps(asdict(target)))
    looking = asyncio.create_task(watched.look())
    attack = await asyncio.create_subprocess_exec(*command, cwd=ROOT)
    try:
        yield
    finally:
        attack.kill()
        await attack.wait()
        looking.cancel()


def answered(count: int) -> Callable[[Watched], bool]:
    return lambda watched: watched.statuses.total() >= count


# When an attack has done what it can.
IN_FULL: dict[str, Callable[[Watched], bool]] = {
    **dict.fromkeys(ATTACKS, answered(2)),
    "headers_without_end": lambda watched: watched.refusals[431] >= 8,
    "half_headers": lambda watched: watched.refusals[503] > 0 and watched.most["connections"] >= CONNECTIONS_OF_ONE,
    "unfinished_bodies": lambda watched: watched.runtime.bodies.waiting.total() > 0,
    "long_polls": lambda watched: watched.most["long polls"] >= long_polls.PER_CALLER and answered(50)(watched),
    "imports_of_bad_rows": answered(1),
}


@pytest.mark.parametrize("name", ATTACKS)
async def test_an_attacker_gets_their_share_and_the_neighbour_packs(name: str, plant: Plant, watched: Watched) -> None:
    batch = await plant.prepared(CASES * 2, units_per_case=2)
    async with (
        httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{watched.port}", headers={"Authorization": f"Bearer {token_of(plant.caller)}"},
            trust_env=False, timeout=HANG_SECONDS,
        ) as neighbour,
        attacked(name, watched),
    ):  # fmt: skip
        for master_code in batch.master_codes[:-1]:
            await packs(neighbour, batch, master_code)
        await watched.until(IN_FULL[name])
        await packs(neighbour, batch, batch.master_codes[-1])
    assert watched.longest_answer <= MIB
    assert watched.most_errors <= 100
    assert set(watched.statuses) <= {200, 202, 400, 409, 413, 422, 429, 503}, watched.statuses
    assert watched.most["bytes of bodies"] <= body_budget.IN_ALL
    assert watched.most["bytes of one share"] <= body_budget.PER_SHARE
    assert watched.most["long polls"] <= long_polls.PER_CALLER
    assert watched.most["connections"] <= CONNECTIONS_OF_ONE
    assert watched.most["memory"] < 200 * MIB
    # The neighbour's own connection may be there still.
    await watched.until(lambda now: set(now.held().values()) == {0})


async def packs(client: httpx2.AsyncClient, batch: Any, master_code: str) -> None:
    order = {"batch_id": str(batch.batch_id), "order_id": str(batch.order_id), "master_code": master_code}
    answer = await client.post("/api/manufacturer/link-to-master-from-queue", json=order)
    assert answer.status_code == 200, answer.text
    assert answer.json()["linked_count"] == 2
