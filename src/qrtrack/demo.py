"""The main job, shown on a real server over HTTP. Every number is held against what the specification promises."""

import asyncio
import csv
import io
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
from pydantic import SecretStr
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from qrtrack.domain.identity import Role
from qrtrack.integrations.tokens import sign_token
from qrtrack.runtime import Runtime, open_runtime
from qrtrack.sandbox import Sandbox
from qrtrack.serving import running, server_of
from qrtrack.settings import Settings
from qrtrack.worker.loop import Worker

API = "/api/manufacturer"
QUANTITY = 1000
DAMAGED = ["SKA000007", "SKA000013", "SKA000404", "SKA000555", "SKA000999"]
PATIENCE_SECONDS = 30


class Mismatch(Exception):
    """A number is not what the specification says."""


async def run(settings: Settings) -> int:
    """0 when everything was as promised, else 1, after saying what was not."""
    console = Console(highlight=False)
    bank = Sandbox(callback_seconds=1.0)
    await bank.start()
    listener = socket.create_server(("127.0.0.1", 0))
    settings = _of_the_demonstration(settings, bank, listener)
    with console.status("Starting PostgreSQL and the server …"):
        opened = open_runtime(settings)
        runtime = await opened.__aenter__()
    try:
        async with running(Worker(runtime)), _client(runtime, listener) as client:
            await Demonstration(console, client, settings.qrtrack_data_dir).show()
    except Mismatch as mismatch:
        console.print(f"\n[bold red]Not as promised:[/] {mismatch}")
        return 1
    finally:
        await bank.stop()
        await opened.__aexit__(None, None, None)
    console.print("\n[bold green]Everything was as promised.[/] Go on with `make run` and http://127.0.0.1:8000/docs")
    return 0


def _of_the_demonstration(settings: Settings, bank: Sandbox, listener: socket.socket) -> Settings:
    """It must not depend on the database or the bank that a deployment has set, and least of all pay there."""
    return settings.model_copy(
        update={
            "database_url": None,
            "public_base_url": f"http://127.0.0.1:{listener.getsockname()[1]}",
            "akselgate_base_url": bank.address,
            "akselgate_username": "demo",
            "akselgate_password": SecretStr("demo"),
            "akselgate_organisation": uuid4(),
            "akselgate_amount_scale": 0,
            "akselgate_success_codes": "",
        }
    )


@asynccontextmanager
async def _client(runtime: Runtime, listener: socket.socket) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of a server on the port, with a token of somebody who is manager and finance officer in one."""
    server = server_of(runtime, host="127.0.0.1", port=0)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    assert runtime.settings.jwt_secret is not None
    token = sign_token(
        runtime.settings.jwt_secret.get_secret_value(),
        organisation_id=runtime.settings.akselgate_organisation or uuid4(),
        user_id=str(uuid4()),
        roles=[Role.MANAGER, Role.FINANCE],
        hours=1,
        audience=runtime.settings.jwt_audience,
        issuer=runtime.settings.jwt_issuer,
    )
    try:
        async with httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{listener.getsockname()[1]}",
            headers={"Authorization": f"Bearer {token}"},
            timeout=PATIENCE_SECONDS,
            trust_env=False,
        ) as client:
            yield client
    finally:
        runtime.stopping.set()
        server.should_exit = True
        await serving


class Demonstration:
    """The steps in the order in which a plant does them."""

    def __init__(self, console: Console, client: httpx2.AsyncClient, data_dir: Path) -> None:
        self._console = console
        self._client = client
        self._data_dir = data_dir
        self._order_id = str(uuid4())
        self._batch: dict[str, Any] = {}

    async def show(self) -> None:
        await self._create()
        await self._prepare()
        await self._pack()
        folder = await self._write_files()
        await self._reconcile()
        await self._pay()
        self._step("The batch's QR and its codes are in")
        for file in sorted(folder.iterdir()):
            self._console.print(f"  {file}")

    async def _create(self) -> None:
        self._step(f"A manager orders a batch of {QUANTITY:,} codes, 100 to a case")
        self._batch = await self._post(
            "/batches",
            {
                "order_id": self._order_id,
                "product_name": "Gold 1 g",
                "quantity": QUANTITY,
                "serial_prefix": "SKA",
                "units_per_case": 100,
            },
            status=202,
        )
        expect("first code", self._batch["first_code"], "SKA000001")
        expect("last code", self._batch["last_code"], "SKA001000")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (batch := await self._details())["status"] == "creating":  # noqa: ASYNC110 - polls, as front ends do
                await asyncio.sleep(0.05)
        expect("codes", batch["total_items"], QUANTITY)
        expect("root keys that differ", batch["unique_root_keys"], QUANTITY)
        expect("uniq codes", batch["unique_uniq_codes"], 1)
        expect("cases", batch["cases"]["total"], 10)
        self._say(
            f"{batch['total_items']:,} codes SKA000001 … SKA001000, every root key different, in "
            f"{batch['cases']['total']} cases. Their keys are hashed in the background."
        )

    async def _prepare(self) -> None:
        self._step("An operator pastes the five damaged units instead of scanning 995 good ones")
        order = {"batch_id": self._batch["batch_id"], "order_id": self._order_id}
        refused = await self._post("/reverse-job/submit", order | {"exclude_codes": ["SKA001007"]}, status=422)
        expect("a mistyped code is refused", refused["type"], "urn:qrtrack:problem:unknown-exclude-codes")
        self._say(f"A typing error is refused: [dim]{refused['detail']}[/]")
        pasted = f"{DAMAGED[0]}, {DAMAGED[1].lower()}\n{DAMAGED[2]};{DAMAGED[3]}  {DAMAGED[4]} {DAMAGED[0]}"
        job = await self._post("/reverse-job/submit", order | {"exclude_codes": [pasted]})
        expect("excluded codes", job["exclude_count"], len(DAMAGED))
        status = await self._watch(job["job_id"])
        expect("job", status["status"], "completed")
        expect(
            "result",
            status["result_summary"],
            {
                "prepared": 995,
                "duplicates": 0,
                "invalid": 0,
                "total_available": 1000,
                "excluded_count": 5,
                "excluded_already_unavailable": 0,
            },
        )
        self._say(f"Prepared {status['result_summary']['prepared']} codes, excluded 5.")

    async def _watch(self, job_id: str) -> dict[str, Any]:
        columns = (TextColumn("  {task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
        with Progress(*columns, TimeElapsedColumn(), console=self._console) as progress:
            task = progress.add_task("reverse job", total=100)
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:
                    status = await self._get("/reverse-job/status", job_id=job_id, wait=5)
                    progress.update(task, completed=status["progress"])
                    if status["status"] not in {"queued", "running"}:
                        return status

    async def _pack(self) -> None:
        self._step("Case after case takes its next hundred")
        boxes = (await self._get(f"/batches/{self._batch['batch_id']}/cases"))["cases"]
        for box in boxes[:4]:
            await self._pack_full(box)
        await self._refuse_double_scan(boxes[0])
        await self._catch_drift(boxes[4])
        for box in boxes[5:9]:
            await self._pack_full(box)
        short = await self._link(boxes[9], status=409)
        expect("the last case", short["type"], "urn:qrtrack:problem:not-enough-prepared")
        expect("left for the last case", short["available"], 95)
        last = await self._link(boxes[9], allow_partial=True)
        expect("units of the last case", last["linked_count"], 95)
        self._say(f"{_box(last)} — the last, partial one")

    async def _pack_full(self, box: dict[str, Any]) -> None:
        packed = await self._link(box)
        expect(f"units of case {box['case_number']}", packed["linked_count"], 100)
        self._say(_box(packed))

    async def _refuse_double_scan(self, box: dict[str, Any]) -> None:
        refused = await self._link(box, status=409)
        expect("a double scan is refused", refused["type"], "urn:qrtrack:problem:case-already-packed")
        self._say(f"[yellow]Scanned twice, refused:[/] [dim]{refused['detail']}[/]")

    async def _catch_drift(self, box: dict[str, Any]) -> None:
        """The box's last unit is one further than the queue says: a unit fell beside the box."""
        refused = await self._link(box, first_code="SKA000403", last_code="SKA000504", status=409)
        expect("a count drift is caught", refused["type"], "urn:qrtrack:problem:count-drift")
        expect("drift", (refused["drift"], refused["expected_code"]), (1, "SKA000503"))
        self._say(f"[yellow]One unit is not in the box:[/] [dim]{refused['detail']}[/]")
        packed = await self._link(box, first_code="SKA000403", last_code="SKA000503")
        expect("the found unit in, the case is", packed["master_code_info"]["completeness"], "verified")
        self._say(f"{_box(packed)} — found under the table, checked again")

    async def _write_files(self) -> Path:
        batch_id, uniq_code = self._batch["batch_id"], self._batch["uniq_code"]
        text = io.StringIO()
        sheet = csv.writer(text)
        sheet.writerow(["code", "uniq_code", "status", "case"])
        cursor, rows = None, 0
        while rows == 0 or cursor:
            page = await self._get(f"/batches/{batch_id}/codes", limit=1000, **({"cursor": cursor} if cursor else {}))
            sheet.writerows(
                [code["code"], code["uniq_code"], code["status"], code["case_number"]] for code in page["codes"]
            )
            rows, cursor = rows + len(page["codes"]), page["next_cursor"]
        expect("codes in the sheet", rows, QUANTITY)
        image = await self._client.get(f"{API}/batches/{batch_id}/qr.png")
        expect("the QR image", image.status_code, 200)
        folder = self._data_dir / "demo" / str(uniq_code)
        await asyncio.to_thread(_write, folder, {"qr.png": image.content, "codes.csv": text.getvalue().encode()})
        return folder

    async def _reconcile(self) -> None:
        self._step("The sheet for the auditor: every code counted once")
        sheet = await self._get(f"/batches/{self._batch['batch_id']}/reconciliation")
        places = ("in_case", "prepared", "excluded", "void", "scanned_without_case", "remaining")
        table = Table(show_edge=False, pad_edge=False)
        table.add_column("place")
        table.add_column("codes", justify="right")
        for place in places:
            table.add_row(place.replace("_", " "), f"{sheet[place]:,}")
        table.add_row("[bold]generated", f"[bold]{sheet['generated']:,}")
        self._console.print(table)
        expect("packed", sheet["in_case"], 995)
        expect("excluded", sheet["excluded"], 5)
        expect("the sum of all places", sum(sheet[place] for place in places), QUANTITY)
        expect("differences", sheet["differences"], [])

    async def _pay(self) -> None:
        self._step("Finance pays: a settlement goes to a bank (a stand-in) once, however often it is sent")
        kd_settle = f"STL-{self._order_id[:8]}"
        accounts = {"debitAccount": "1000000001", "creditAccount": "2000000001"}
        rows = [
            {**accounts, "amount": amount, "description": "Gold", "referenceNumber": f"{name}{self._order_id[:8]}"}
            for name, amount in (("PAY-", "150000"), ("FAIL-", "75000"))
        ]
        order = {"transaction_type": "CA_ESCROW", "kd_settle": kd_settle, "transactions": rows}
        sent = _checked("dispatch", await self._client.post("/api/akselgate/dispatch", json=order), 200)
        expect("outcome", sent["outcome"], "accepted")
        again = _checked("dispatch", await self._client.post("/api/akselgate/dispatch", json=order), 409)
        expect("the attempt that holds it", again["log_id"], sent["log_id"])
        self._say(f"Attempt {sent['log_id']} is accepted, a second one refused: [dim]{again['detail']}[/]")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (page := await self._attempt(sent["log_id"]))["attempt"]["is_open"]:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.05)
        expect("callbacks", [row["callback_state"] for row in page["rows"]], ["ok", "failed"])
        for row in page["rows"]:
            self._say(f"{row['reference_number']}: {row['amount']:>7} {row['callback_state']}")

    async def _attempt(self, attempt_id: int) -> dict[str, Any]:
        return _checked("attempt", await self._client.get(f"/api/akselgate/attempts/{attempt_id}"), 200)

    async def _details(self) -> dict[str, Any]:
        batch: dict[str, Any] = (await self._get(f"/batches/{self._batch['batch_id']}"))["batch"]
        return batch

    async def _link(self, box: dict[str, Any], *, status: int = 200, **asked: Any) -> dict[str, Any]:
        order = {
            "batch_id": self._batch["batch_id"],
            "order_id": self._order_id,
            "master_code": box["master_code"],
            "station": "Line 1",
        }
        return await self._post("/link-to-master-from-queue", order | asked, status=status)

    async def _post(self, path: str, body: dict[str, Any], *, status: int = 200) -> dict[str, Any]:
        answer = await self._client.post(f"{API}{path}", json=body)
        return _checked(path, answer, status)

    async def _get(self, path: str, **query: Any) -> dict[str, Any]:
        return _checked(path, await self._client.get(f"{API}{path}", params=query), 200)

    def _step(self, text: str) -> None:
        self._console.print(f"\n[bold]{text}[/]")

    def _say(self, text: str) -> None:
        self._console.print(f"  {text}")


def expect(what: str, found: object, promised: object) -> None:
    """Raises Mismatch."""
    if found != promised:
        raise Mismatch(f"{what}: {found!r} instead of {promised!r}")


def _checked(path: str, answer: httpx2.Response, status: int) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    expect(f"status of {path} ({body.get('detail', '')})", answer.status_code, status)
    return body


def _box(packed: dict[str, Any]) -> str:
    info = packed["master_code_info"]
    return (
        f"Case {info['case_number']:>2}: {info['actual_units']:>3} units, "
        f"{info['first_code']} … {info['last_code']}, {info['completeness']}"
    )


def _write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
