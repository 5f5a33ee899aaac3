"""A station of the packing line: a browser that is signed in at a real server, and its hand scanner."""

import asyncio
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

import httpx2
from playwright.async_api import Page, Route, expect

from forked import Qrtrack
from process import SECRET, environment, free_port, run, wait_for
from qrtrack.domain.identity import Role
from qrtrack.integrations.tokens import sign_token
from ticking import HANG_SECONDS

API = "/api/manufacturer"

# Codes that come sooner are of one trigger, and the same code is of a second channel of the scanner.
PERSON_MILLISECONDS = 350

expect.set_options(timeout=HANG_SECONDS * 1000)


@dataclass(frozen=True)
class Batch:
    batch_id: str
    order_id: str
    uniq_code: str

    def master_code(self, number: int) -> str:
        return f"{self.uniq_code}-C{number:04d}"


@dataclass(frozen=True)
class Factory:
    """A running server, its database, and an organisation of the test's own."""

    address: str
    folder: Path
    database_url: str
    organisation: str = field(default_factory=lambda: str(uuid4()))
    user: str = field(default_factory=lambda: str(uuid4()))

    def link(self, role: Role = Role.MANAGER) -> str:
        """A sign-in link, as an administrator makes one at the terminal."""
        words = ("token", "--org", self.organisation, "--user", self.user, "--role", role, "--link")
        return run(self.folder, *words, "--base-url", self.address, DATABASE_URL=self.database_url).stdout.strip()

    def revoke(self) -> None:
        run(self.folder, "sessions", "revoke", "--org", self.organisation, DATABASE_URL=self.database_url)

    def client(self) -> httpx2.AsyncClient:
        token = sign_token(
            SECRET, organisation_id=UUID(self.organisation), user_id=self.user, roles=[Role.MANAGER], hours=1
        )
        headers = {"Authorization": f"Bearer {token}"}
        return httpx2.AsyncClient(base_url=self.address, headers=headers, trust_env=False, timeout=60)

    async def batch(self, quantity: int = 40, units_per_case: int = 10, exclude: Sequence[str] | None = ()) -> Batch:
        """`exclude` None: nothing is prepared."""
        order = {"order_id": str(uuid4()), "product_name": "Gold 1 g", "serial_prefix": "SKA"}
        async with self.client() as client:
            made = (await client.post(f"{API}/batches", json=order | {
                "quantity": quantity, "units_per_case": units_per_case,
            })).json()  # fmt: skip
            batch = Batch(made["batch_id"], order["order_id"], made["uniq_code"])
            await self.until_codes_exist(batch.batch_id)
            if exclude is not None:
                job = {"batch_id": batch.batch_id, "order_id": batch.order_id, "exclude_codes": list(exclude)}
                submitted = await client.post(f"{API}/reverse-job/submit", json=job | {"wait": 30})
                assert submitted.is_success, submitted.text
        return batch

    async def until_codes_exist(self, batch_id: str) -> None:
        """Before, no job is taken for the batch, and its page offers neither a recall nor to close it."""
        async with self.client() as client:
            while not (await client.get(f"{API}/batches/{batch_id}")).json()["batch"]["codes_created_at"]:
                pass

    async def packs(self, batch: Batch) -> list[dict[str, object]]:
        async with self.client() as client:
            packs: list[dict[str, object]] = (await client.get(f"{API}/packs?batch_id={batch.batch_id}")).json()[
                "packs"
            ]
            return packs


@dataclass(frozen=True)
class Station:
    """The packing page, as its operator uses it."""

    page: Page
    factory: Factory

    async def sign_in(self, role: Role = Role.MANAGER) -> None:
        await self.page.goto(self.factory.link(role))
        await self.page.wait_for_url(f"{self.factory.address}/console")

    async def open(self, batch: Batch) -> None:
        await self.page.goto(f"{self.factory.address}/console/packing?batch={batch.batch_id}")

    async def scan(self, *codes: str) -> None:
        """A hand scanner types and presses Enter, wherever the focus is. A person pulls its trigger for each code."""
        for code in codes:
            await self.page.wait_for_timeout(PERSON_MILLISECONDS)
            await self.page.keyboard.type(code)
            await self.page.keyboard.press("Enter")

    async def expect_verdict(self, kind: str, title: str) -> None:
        await expect(self.page.locator("#verdict-title")).to_have_text(title)
        await expect(self.page.locator("#verdict")).to_have_class(f"verdict {kind}")


async def first(held: list[Route]) -> Route:
    """Waits for it: a page says that it sends something before the browser does so."""
    async with asyncio.timeout(HANG_SECONDS):
        while not held:
            await asyncio.sleep(0.01)
    return held[0]


async def hold(page: Page, address: str) -> list[Route]:
    """The requests wait until the test lets them go."""
    held: list[Route] = []

    async def keep(route: Route) -> None:
        held.append(route)

    await page.route(address, keep)
    return held


class MortalServer:
    """A server that a test kills and starts again, at the same address."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self._folder, self._settings, self._port = folder, settings, free_port()
        self.address = f"http://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        env = environment(self._folder, **self._settings)
        with (self._folder / "log").open("ab") as log:
            self._process: subprocess.Popen[str] = Qrtrack(
                "serve", "--port", str(self._port), cwd=self._folder, env=env, stdout=log, stderr=log
            )
        wait_for(f"{self.address}/healthz")

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
