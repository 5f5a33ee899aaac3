"""The real program as an operator installs it: its commands and servers as processes, its database by URL alone."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx2

from environments.machine import Machine
from process import SECRET, free_port
from qrtrack.domain.identity import Role
from qrtrack.integrations.tokens import sign_token

QRTRACK = Path(sys.executable).with_name("qrtrack")
ACCURATE_DATABASE = 1443290
READY_SECONDS = 40
STOP_SECONDS = 30
# Log lines, and the line with which commands name their database.
BESIDE = re.compile(r"\d{4}-\d\d-\d\dT|Database: ")


@dataclass
class Site:
    """A running server, and a client of the installation's organisation."""

    process: subprocess.Popen[Any]
    log: Callable[[], str]
    client: httpx2.AsyncClient

    async def ready(self) -> httpx2.Response | None:
        """What /readyz answers; None while nobody listens."""
        with suppress(httpx2.TransportError):
            return await self.client.get("/readyz")
        return None

    async def until_ready(self, seconds: float = READY_SECONDS) -> None:
        """Raises with the end of the log when the server is not ready in time."""
        over, answer = time.monotonic() + seconds, None
        while time.monotonic() < over and self.process.poll() is None:
            answer = await self.ready()
            if answer is not None and answer.status_code == 200:
                return
            await asyncio.sleep(0.1)
        ended = self.process.poll()
        state = f"ended with {ended}" if ended is not None else f"answers {answer and answer.text}"
        raise AssertionError(f"the server is not ready, it {state}:\n{self.log()[-3000:]}")


@dataclass
class Installation:
    """The settings of one installation. `organisation` is the one that its Accurate and its bank account belong to."""

    machine: Machine
    url: str | None
    settings: dict[str, str] = field(default_factory=dict)
    organisation: UUID = field(default_factory=uuid4)
    folder: Path = field(init=False)

    def __post_init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="installation-", dir=self.machine.folder))

    def environment(self, **changes: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME"} or name.startswith("COV")}
        address = {} if self.url is None else {"DATABASE_URL": self.url}
        own = {
            "QRTRACK_DATA_DIR": str(self.folder / "var"),
            "JWT_SECRET": SECRET,
            "SECRET_KEY": SECRET,
            "CRON_SECRET": SECRET,
            "BCRYPT_COST": "4",
            "HASH_THREADS": "1",
            "POLL_SECONDS": "0.2",
            "DATABASE_POOL_SIZE": "8",
            "ACCURATE_DATABASES": f"{ACCURATE_DATABASE}={self.organisation}",
        }
        return kept | own | address | self.settings | changes

    def run(self, *words: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """A command of the program that ends by itself."""
        return subprocess.run(
            [QRTRACK, *words],
            cwd=self.folder,
            env=self.environment(**changes),
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )

    def refused(self, *words: str, lines: int = 1, **changes: str) -> str:
        """The words with which the command refuses; raises unless they are so few lines and no traceback."""
        return only_words(self.run(*words, **changes), lines)

    def migrate(self) -> None:
        """Raises with the command's words when it fails."""
        done = self.run("migrate")
        assert done.returncode == 0, f"qrtrack migrate failed:\n{done.stderr[-1500:]}"

    @asynccontextmanager
    async def started(self, *options: str, **changes: str) -> AsyncIterator[Site]:
        """`qrtrack serve`, perhaps not ready yet. It is stopped at the end as an operator stops it, then killed."""
        port = free_port()
        log = self.folder / f"serve-{port}.log"
        address = f"http://127.0.0.1:{port}"
        process = self.machine.start(
            [QRTRACK, "serve", "--port", str(port), *options],
            log,
            cwd=self.folder,
            env=self.environment(PUBLIC_BASE_URL=address, **changes),
        )
        async with self.client(address) as client:
            try:
                yield Site(process, lambda: log.read_text(errors="replace"), client)
            finally:
                process.send_signal(signal.SIGTERM)
                try:
                    await asyncio.to_thread(process.wait, STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()

    @asynccontextmanager
    async def serving(self, *options: str, **changes: str) -> AsyncIterator[Site]:
        """`qrtrack serve`, ready."""
        async with self.started(*options, **changes) as site:
            await site.until_ready()
            yield site

    async def ends(self, *options: str, lines: int = 1, **changes: str) -> str:
        """The words with which `qrtrack serve` ends by itself; raises when it goes on."""
        async with self.started(*options, **changes) as site:
            try:
                code = await asyncio.to_thread(site.process.wait, READY_SECONDS)
            except subprocess.TimeoutExpired:
                raise AssertionError(f"the server has not ended:\n{site.log()[-3000:]}") from None
            return only_words(subprocess.CompletedProcess("serve", code, "", site.log()), lines)

    def client(self, address: str, organisation: UUID | None = None) -> httpx2.AsyncClient:
        """An administrator's client, of the installation's organisation if no other is named."""
        token = sign_token(
            SECRET,
            organisation_id=organisation or self.organisation,
            user_id=str(uuid4()),
            roles=[Role.ADMIN],
            hours=1,
        )
        return httpx2.AsyncClient(
            base_url=address, trust_env=False, timeout=60, headers={"Authorization": f"Bearer {token}"}
        )


def only_words(done: subprocess.CompletedProcess[str], lines: int) -> str:
    """What the refusal says on standard error."""
    said = [line for line in done.stderr.splitlines() if line.strip() and not BESIDE.match(line)]
    assert done.returncode not in {0, None}, f"it did not refuse: {done.stdout}{done.stderr}"
    assert "Traceback" not in done.stderr, f"a traceback of {len(said)} lines, at its end: {said[-3:]}"
    assert len(said) <= lines, f"{len(said)} lines instead of {lines}:\n{done.stderr[-3000:]}"
    return "\n".join(said)
