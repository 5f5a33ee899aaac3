"""The main job: a batch, five damaged units, case after case from the queue, and the reconciliation for the auditor."""

import asyncio
import csv
import io
from pathlib import Path
from typing import Any
from uuid import uuid4

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from qrtrack.demo import consuming, labelling
from qrtrack.demo.printing import printing
from qrtrack.demo.telling import PATIENCE_SECONDS, Teller, expect

API = "/api/manufacturer"
QUANTITY = 1000
STATION, CASES = "Line 1", 10
DAMAGED = ["SKA000007", "SKA000013", "SKA000404", "SKA000555", "SKA000999"]


class PackingLine:
    """The steps of a packing line, in their order."""

    def __init__(self, tell: Teller) -> None:
        self._tell = tell
        self._order_id = str(uuid4())
        self._batch: dict[str, Any] = {}

    async def show(self) -> Path:
        """Plays all steps. Returns the folder with the batch's files."""
        await self._create()
        await labelling.show(self._tell, self._batch, self._folder)
        await self._prepare()
        async with printing(self._tell, self._folder, station=STATION, cases=CASES):
            await self._pack()
        await self._write_files()
        await self._reconcile()
        await consuming.show(self._tell, self._batch)
        return self._folder

    @property
    def _folder(self) -> Path:
        return self._tell.folder / str(self._batch["uniq_code"])

    async def _create(self) -> None:
        self._tell.step(f"A manager orders a batch of {QUANTITY:,} codes, 100 to a case")
        self._batch = await self._tell.post(
            f"{API}/batches",
            {
                "order_id": self._order_id,
                "product_name": "Gold 1 g",
                "quantity": QUANTITY,
                "serial_prefix": "SKA",
                "units_per_case": 100,
                "requires_release": False,
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
        self._tell.say(
            f"{batch['total_items']:,} codes SKA000001 … SKA001000, every root key different, in "
            f"{batch['cases']['total']} cases. Their keys are hashed in the background."
        )

    async def _prepare(self) -> None:
        self._tell.step("An operator pastes the five damaged units instead of scanning 995 good ones")
        body = {"batch_id": self._batch["batch_id"], "order_id": self._order_id}
        refused = await self._tell.post(
            f"{API}/reverse-job/submit", body | {"exclude_codes": ["SKA001007"]}, status=422
        )
        expect("a mistyped code is refused", refused["type"], "urn:qrtrack:problem:unknown-exclude-codes")
        self._tell.say(f"A typing error is refused: [dim]{refused['detail']}[/]")
        pasted = f"{DAMAGED[0]}, {DAMAGED[1].lower()}\n{DAMAGED[2]};{DAMAGED[3]}  {DAMAGED[4]} {DAMAGED[0]}"
        job = await self._tell.post(f"{API}/reverse-job/submit", body | {"exclude_codes": [pasted]})
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
        self._tell.say(f"Prepared {status['result_summary']['prepared']} codes, excluded 5.")

    async def _watch(self, job_id: str) -> dict[str, Any]:
        columns = (TextColumn("  {task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
        with Progress(*columns, TimeElapsedColumn(), console=self._tell.console) as progress:
            task = progress.add_task("reverse job", total=100)
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:
                    status = await self._tell.get(f"{API}/reverse-job/status", job_id=job_id, wait=5)
                    progress.update(task, completed=status["progress"])
                    if status["status"] not in {"queued", "running"}:
                        return status

    async def _pack(self) -> None:
        self._tell.step("Case after case takes its next hundred")
        boxes = (await self._tell.get(f"{API}/batches/{self._batch['batch_id']}/cases"))["cases"]
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
        self._tell.say(f"{_box(last)} — the last, partial one")

    async def _pack_full(self, box: dict[str, Any]) -> None:
        packed = await self._link(box)
        expect(f"units of case {box['case_number']}", packed["linked_count"], 100)
        self._tell.say(_box(packed))

    async def _refuse_double_scan(self, box: dict[str, Any]) -> None:
        refused = await self._link(box, status=409)
        expect("a double scan is refused", refused["type"], "urn:qrtrack:problem:case-already-packed")
        self._tell.say(f"[yellow]Scanned twice, refused:[/] [dim]{refused['detail']}[/]")

    async def _catch_drift(self, box: dict[str, Any]) -> None:
        """A unit fell beside the box, so the last unit in the box is one further than the queue says. The service
        refuses the case.
        """
        refused = await self._link(box, first_code="SKA000403", last_code="SKA000504", status=409)
        expect("a count drift is caught", refused["type"], "urn:qrtrack:problem:count-drift")
        expect("drift", (refused["drift"], refused["expected_code"]), (1, "SKA000503"))
        self._tell.say(f"[yellow]One unit is not in the box:[/] [dim]{refused['detail']}[/]")
        packed = await self._link(box, first_code="SKA000403", last_code="SKA000503")
        expect("the found unit in, the case is", packed["master_code_info"]["completeness"], "verified")
        self._tell.say(f"{_box(packed)} — found under the table, checked again")

    async def _write_files(self) -> None:
        batch_id = self._batch["batch_id"]
        text = io.StringIO()
        sheet = csv.writer(text)
        sheet.writerow(["code", "uniq_code", "status", "case"])
        asked: dict[str, Any] = {"limit": 1000}
        rows = 0
        while rows == 0 or asked["cursor"]:
            page = await self._tell.get(f"{API}/batches/{batch_id}/codes", **asked)
            sheet.writerows(
                [code["code"], code["uniq_code"], code["status"], code["case_number"]] for code in page["codes"]
            )
            rows, asked["cursor"] = rows + len(page["codes"]), page["next_cursor"]
        expect("codes in the sheet", rows, QUANTITY)
        image = await self._tell.client.get(f"{API}/batches/{batch_id}/qr.png")
        expect("the QR image", image.status_code, 200)
        await asyncio.to_thread(_write, self._folder, {"qr.png": image.content, "codes.csv": text.getvalue().encode()})

    async def _reconcile(self) -> None:
        self._tell.step("The sheet for the auditor: every code counted once")
        sheet = await self._tell.get(f"{API}/batches/{self._batch['batch_id']}/reconciliation")
        places = (
            "void", "in_case", "scanned_without_case", "prepared", "excluded", "voided_by_closing", "remaining",
        )  # fmt: skip
        table = Table(show_edge=False, pad_edge=False)
        table.add_column("place")
        table.add_column("codes", justify="right")
        for place in places:
            table.add_row(place.replace("_", " "), f"{sheet[place]:,}")
        table.add_row("[bold]generated", f"[bold]{sheet['generated']:,}")
        self._tell.console.print(table)
        expect("packed", sheet["in_case"], 995)
        expect("excluded", sheet["excluded"], 5)
        expect("the sum of all places", sum(sheet[place] for place in places), QUANTITY)
        expect("differences", sheet["differences"], [])

    async def _details(self) -> dict[str, Any]:
        batch: dict[str, Any] = (await self._tell.get(f"{API}/batches/{self._batch['batch_id']}"))["batch"]
        return batch

    async def _link(self, box: dict[str, Any], *, status: int = 200, **fields: Any) -> dict[str, Any]:
        body = {
            "batch_id": self._batch["batch_id"],
            "order_id": self._order_id,
            "master_code": box["master_code"],
            "station": STATION,
        }
        return await self._tell.post(f"{API}/link-to-master-from-queue", body | fields, status=status)


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
