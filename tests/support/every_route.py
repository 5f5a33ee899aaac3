"""A complete and valid request for every operation in the OpenAPI document. `{…}` in a request is replaced by an id of
a plant.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx2

from accurate import DATABASE, Accurate, event
from fanout import FanOut, done, failed
from plant import MadeBatch, Plant
from printer import added, ordered
from qrtrack.domain.labels.formats import Roll
from qrtrack.domain.stopping import StopSignal
from qrtrack.services.labels.label_formats import store_label_format
from qrtrack.services.packing.gtin_owners import claim_prefix
from qrtrack.services.recalls import RecallTexts, recall_batch
from qrtrack.worker.execution import run_next
from qrtrack.worker.handlers import HANDLERS

API = "/api/manufacturer"


@dataclass(frozen=True)
class Route:
    """A request. `names_a_thing`: it names something that other organisations do not find. `template`: its path in the
    document.
    """

    method: str
    path: str
    template: str = ""
    body: Mapping[str, Any] | None = None
    form: Mapping[str, str] | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    manager: bool = False
    names_a_thing: bool = True

    @property
    def id(self) -> str:
        return f"{self.method} {self.template or self.path}"

    @property
    def names(self) -> set[str]:
        """The words of NAMES that the request contains."""
        text = json.dumps([self.path, self.body, self.form, dict(self.query)])
        return {name for name in NAMES if f"{{{name}}}" in text}


def get(path: str, **more: Any) -> Route:
    return Route("GET", path, **more)


def post(path: str, body: Mapping[str, Any] | None = None, **more: Any) -> Route:
    return Route("POST", path, body=body, **more)


NAMES = (
    "batch_id", "order_id", "job_id", "master_code", "packed_code", "code", "free_code", "last_code", "bad_code",
    "label_job_id", "format_name", "printer_id", "print_job_id", "company_prefix", "recall_id", "uniq_code", "product",
    "sync_id", "queue_id", "uuid", "database_id", "log_id", "settlement", "reference",
)  # fmt: skip
OF_BATCH = {"batch_id": "{batch_id}", "order_id": "{order_id}"}
PACKING = [
    post(
        f"{API}/batches",
        {
            "order_id": "{order_id}", "product_name": "Gold", "quantity": 5, "serial_prefix": "SKA",
            "units_per_case": 5, "serial_mode": "sequential", "gtin": "04006381333931", "lot": "L1",
            "expires_on": "2031-01-31", "variants": None, "requires_release": True, "notify": None,
            "manufacturer_org_id": None, "user_id": None,
        },
        manager=True, names_a_thing=False,
    ),
    post(
        f"{API}/batches/import", form={"order_id": "{order_id}", "product_name": "Old"},
        manager=True, names_a_thing=False,
    ),
    get(
        f"{API}/batches",
        query={"order_id": "{order_id}", "status": "ready", "product_name": "{product}", "uniq_code": "{uniq_code}"},
        names_a_thing=False,
    ),
    get(f"{API}/batches/{{batch_id}}"),
    get(f"{API}/batches/{{batch_id}}/codes", query={"status": "printed", "limit": "10"}),
    get(f"{API}/batches/{{batch_id}}/cases", query={"status": "open", "limit": "10"}),
    get(f"{API}/batches/{{batch_id}}/reconciliation"),
    *(
        get(f"{API}/batches/{{batch_id}}/{name}", query=query, manager=True)
        for name, query in (
            ("codes.csv", {"reveal": "root_key", "payload": "true", "delimiter": ";"}),
            ("codes.xlsx", {"reveal": "root_key", "payload": "true"}),
            ("cases.csv", {"delimiter": ";"}),
            ("cases.xlsx", {}),
            ("reconciliation.xlsx", {}),
        )
    ),
    get(f"{API}/reverse-job/prepared.csv", query={"job_id": "{job_id}", "delimiter": ";"}, manager=True),
    get(f"{API}/reverse-job/prepared.xlsx", query={"job_id": "{job_id}"}, manager=True),
    post(f"{API}/batches/{{batch_id}}/close", {"reason": "short"}, manager=True),
    post(f"{API}/batches/{{batch_id}}/retry", manager=True),
    post(f"{API}/batches/{{batch_id}}/release", {"at": "2031-01-31T08:00:00+07:00"}, manager=True),
    post(f"{API}/batches/{{batch_id}}/forget-keys", manager=True),
    post(
        f"{API}/recall",
        {"batch_id": None, "master_code": "{packed_code}", "codes": None, "reason": "glass", "text_en": "Return it.",
         "text_id": "Kembalikan."},
        manager=True,
    ),
    post(f"{API}/recall/lift", {"recall_id": "{recall_id}", "reason": "no glass"}, manager=True),
    get(f"{API}/recalls", query={"batch_id": "{batch_id}", "in_force": "true"}, names_a_thing=False),
    get(f"{API}/recalls/{{recall_id}}"),
    get(f"{API}/batches/{{batch_id}}/verifications", query={"show": "alerts", "limit": "10"}),
    post(f"{API}/codes/void", {"batch_id": "{batch_id}", "codes": ["{free_code}"], "reason": "torn"}),
    post(f"{API}/codes/printed", {"batch_id": "{batch_id}", "codes": ["{free_code}"], "all": None}),
    post(f"{API}/codes/readmit", {"batch_id": "{batch_id}", "codes": ["{bad_code}"]}, manager=True),
    post(
        f"{API}/reverse-job/submit",
        {**OF_BATCH, "exclude_codes": ["{bad_code}"], "variant": None, "priority": 1, "wait": 0, "dry_run": True,
         "notify": None},
    ),
    get(f"{API}/reverse-job/status", query={"job_id": "{job_id}", "wait": "0"}),
    get(
        f"{API}/reverse-job/jobs", query={"batch_id": "{batch_id}", "order_id": "{order_id}", "status": "completed"},
        names_a_thing=False,
    ),
    get(f"{API}/reverse-job/logs", query={"job_id": "{job_id}"}),
    get(f"{API}/reverse-job/prepared", query={"job_id": "{job_id}", "status": "prepared"}),
    post(f"{API}/reverse-job/cancel", {"job_id": "{job_id}"}, manager=True),
    post(f"{API}/reverse-job/retry", {"job_id": "{job_id}"}, manager=True),
    post(
        f"{API}/reverse-job/cancel-matching", {"status": "queued", "batch_id": "{batch_id}", "dry_run": True},
        manager=True, names_a_thing=False,
    ),
    post(
        f"{API}/reverse-job/retry-matching", {"batch_id": "{batch_id}", "dry_run": True}, manager=True,
        names_a_thing=False,
    ),
    post(
        f"{API}/link-to-master-from-queue",
        {
            **OF_BATCH, "master_code": "{master_code}", "target_units": 1, "allow_partial": True, "variant": None,
            "first_code": "{free_code}", "last_code": "{free_code}", "missing_codes": ["{last_code}"], "station": "s",
        },
    ),
    post(
        f"{API}/link-to-master",
        {
            **OF_BATCH, "master_code": "{master_code}", "codes": ["{free_code}"], "accept_valid": True, "station": "s",
        },
    ),
    post(
        f"{API}/unlink-from-master",
        {"master_code": "{packed_code}", "codes": None, "reason": "dropped", "station": "s", "requeue": True},
    ),
    post(
        f"{API}/move-case",
        {
            "from_master_code": "{packed_code}", "to_master_code": "{master_code}", "reason": "wrong case",
            "station": "s",
        },
    ),
    get(f"{API}/gs1-prefixes", names_a_thing=False),
    Route(
        "PUT", f"{API}/gs1-prefixes/8991234", f"{API}/gs1-prefixes/{{prefix}}", manager=True,
        names_a_thing=False,
    ),
    Route(
        "DELETE", f"{API}/gs1-prefixes/{{company_prefix}}", f"{API}/gs1-prefixes/{{prefix}}", manager=True,
    ),
    get(f"{API}/packs", query={"batch_id": "{batch_id}", "station": "s", "user": "u"}, names_a_thing=False),
    get(f"{API}/trace/{{code}}", query={"limit": "10"}),
    get(f"{API}/search", query={"q": "{code}"}, names_a_thing=False),
]  # fmt: skip
SYMBOL = {"size": "400", "scale": "4", "error": "H", "border": "4"}
CASE_LABEL = {
    "preset": "roll-100x150", "start_at": "1", "pos": "true", "dx": "0.5", "dy": "-1", "scale_x": "1", "scale_y": "1.0",
}  # fmt: skip
PRINTER = {
    "name": "Of the line", "address": "127.0.0.9:9100", "format": "zpl", "dpi": 300, "preset": "roll-100x150",
    "stations": ["line-1"], "calibration": {"dx": 0.5, "dy": -1, "scale_x": 1, "scale_y": 1.01},
}  # fmt: skip
THE_BATCH, CASES = f"{API}/batches/{{batch_id}}", f"{API}/batches/{{batch_id}}/cases"
LABELS = [
    *(get(f"{THE_BATCH}/qr.{kind}", query=SYMBOL) for kind in ("svg", "png")),
    *(get(f"{THE_BATCH}/codes/{{code}}/qr.{kind}", query=SYMBOL) for kind in ("svg", "png")),
    *(
        get(f"{CASES}/1/{file}", template=f"{CASES}/{{case_number}}/{file}", query=query)
        for file, query in (
            ("qr.svg", SYMBOL), ("qr.png", SYMBOL), ("label.pdf", CASE_LABEL),
            ("label.zpl", CASE_LABEL | {"dpi": "300"}),
        )
    ),
    post(
        f"{THE_BATCH}/labels",
        {
            "what": "units", "format": "zpl", "preset": "roll-50x30", "start_at": 1, "first_code": "{free_code}",
            "last_code": "{last_code}", "first_case": None, "last_case": None, "with_root_key": True, "pos": False,
            "dpi": 300, "calibration": {"dx": 0.5, "dy": -1, "scale_x": 1, "scale_y": 1.01}, "reason": "torn",
            "dry_run": False,
        },
        manager=True,
    ),
    get(f"{API}/labels", query={"batch_id": "{batch_id}", "status": "completed"}, names_a_thing=False),
    get(f"{API}/labels/{{label_job_id}}", query={"wait": "0"}),
    post(f"{API}/labels/{{label_job_id}}/cancel", manager=True),
    post(f"{API}/labels/{{label_job_id}}/retry", manager=True),
    get(f"{API}/labels/{{label_job_id}}/file", manager=True),
    get(f"{API}/label-formats", names_a_thing=False),
    get(
        f"{API}/label-formats/{{format_name}}/calibration.pdf",
        template=f"{API}/label-formats/{{name}}/calibration.pdf",
    ),
    Route(
        "PUT", f"{API}/label-formats/of-test", f"{API}/label-formats/{{name}}",
        {"kind": "roll", "width": 40, "height": 30, "page": None, "margins": None, "pitch": None, "grid": None,
         "across": 1, "gap": 0},
        manager=True, names_a_thing=False,
    ),
    Route("DELETE", f"{API}/label-formats/{{format_name}}", f"{API}/label-formats/{{name}}", manager=True),
    get(f"{API}/printers", names_a_thing=False),
    post(f"{API}/printers", PRINTER | {"name": "Of a test"}, manager=True, names_a_thing=False),
    Route("PATCH", f"{API}/printers/{{printer_id}}", body=PRINTER, manager=True),
    post(
        f"{API}/printers/{{printer_id}}/print",
        {"label_job_id": None, "batch_id": "{batch_id}", "case_number": 1, "reason": "torn"},
    ),
    get(f"{API}/print-jobs", query={"printer_id": "{printer_id}", "status": "queued"}, names_a_thing=False),
    get(f"{API}/print-jobs/{{print_job_id}}", query={"wait": "0"}),
    post(f"{API}/print-jobs/{{print_job_id}}/confirm"),
    post(f"{API}/print-jobs/{{print_job_id}}/cancel"),
    Route("DELETE", f"{API}/printers/{{printer_id}}", manager=True),
]  # fmt: skip
PROGRESS = [
    post(
        "/api/progress/batches", {"name": "Price list", "total_records": 3, "kind": "prices"}, names_a_thing=False,
    ),
    get("/api/progress/batches", query={"status": "processing"}, names_a_thing=False),
    post(
        "/api/progress/batches/{sync_id}/records", {"records": [{"key": "c", "success": False, "error": "timeout"}]},
        template="/api/progress/batches/{batch_id}/records",
    ),
    get("/api/progress/batches/{sync_id}", template="/api/progress/batches/{batch_id}", query={"wait": "0"}),
    get(
        "/api/progress/batches/{sync_id}/failures", template="/api/progress/batches/{batch_id}/failures",
        query={"limit": "10"},
    ),
    post("/api/progress/batches/{sync_id}/cancel", template="/api/progress/batches/{batch_id}/cancel"),
]  # fmt: skip
ACCURATE = [
    get(
        "/api/accurate/documents",
        query={"type": "SALES_INVOICE", "database_id": "{database_id}", "deleted": "false"}, names_a_thing=False,
    ),
    get(
        "/api/accurate/events",
        query={"status": "done", "type": "SALES_INVOICE", "uuid": "{uuid}", "database_id": "{database_id}",
               "conflicts": "true"},
        names_a_thing=False,
    ),
    get("/api/accurate/events/{queue_id}"),
    post(
        "/api/accurate/events/replay",
        {"status": "done", "type": "SALES_INVOICE", "database_id": "{database_id}", "reason": "mended",
         "dry_run": False},
        names_a_thing=False,
    ),
    post("/api/accurate/events/{queue_id}/replay", {"reason": "mended"}),
]  # fmt: skip
AKSELGATE = [
    post(
        "/api/akselgate/dispatch",
        {
            "transaction_type": "CA_ESCROW", "kd_settle": "{settlement}",
            "transactions": [
                {
                    "debitAccount": "1000000001", "creditAccount": "2000000001", "amount": "150000",
                    "description": "Escrow", "referenceNumber": "{reference}",
                }
            ],
        },
    ),
    get(
        "/api/akselgate/attempts",
        query={"kd_settle": "{settlement}", "transaction_type": "CA_ESCROW", "outcome": "unknown", "is_latest": "1"},
    ),
    get("/api/akselgate/attempts/{log_id}", query={"limit": "10"}),
    post("/api/akselgate/attempts/{log_id}/resolve", {"outcome": "not_sent", "note": "Ms Sari of the bank"}),
    get("/api/akselgate/report", query={"date": "2026-11-22"}),
    get("/api/akselgate/report.xlsx", query={"date": "2026-11-22"}),
]  # fmt: skip
FOR_USERS = PACKING + LABELS + PROGRESS + ACCURATE + AKSELGATE
FOR_MACHINES = [
    *(
        Route(method, path, query={"max_seconds": "1"}, names_a_thing=False)
        for method in ("GET", "POST")
        for path in (f"{API}/reverse-job/worker", "/api/worker/run")
    ),
    get("/api/worker/health", names_a_thing=False),
    post("/api/progress/recalculate", query={"all": "true"}, names_a_thing=False),
]
UNIT = {"uniq_code": "{uniq_code}", "code": "{code}"}
FOR_ANYBODY = [
    *(get(path, names_a_thing=False) for path in ("/healthz", "/readyz", "/metrics")),
    post("/api/verify", {**UNIT, "root_key": "AAAA", "purpose": "consumer"}, names_a_thing=False),
    post("/api/redeem", {**UNIT, "root_key": "AAAA"}, names_a_thing=False),
    post("/api/report", {**UNIT, "reason": "not_me", "text": "Shop in Solo"}, names_a_thing=False),
]
FOR_OTHER_SYSTEMS = [
    post("/webhook/accurate", {"type": "SALES_INVOICE"}, names_a_thing=False),
    get("/webhook/akselgate/callback/{token}", names_a_thing=False),
]


@dataclass(frozen=True)
class Things:
    """The ids that replace the words of NAMES in requests. In a JSON body a number stays a number."""

    batch: MadeBatch
    names: Mapping[str, str | int]

    def __call__(self, text: str) -> str:
        for name, value in self.names.items():
            if isinstance(value, int):
                text = text.replace(f'"{{{name}}}"', str(value))
            text = text.replace(f"{{{name}}}", str(value))
        return text

    async def send(self, client: httpx2.AsyncClient, route: Route, **changed: Any) -> httpx2.Response:
        path, arguments = self.request(route, **changed)
        return await client.request(route.method, path, **arguments)

    def request(self, route: Route, **changed: Any) -> tuple[str, dict[str, Any]]:
        """Returns the path, and the other arguments for an httpx2 client. `changed` replaces members of the body."""
        arguments: dict[str, Any] = {"params": {name: self(value) for name, value in route.query.items()}}
        if route.form is not None:
            arguments["data"] = {name: self(value) for name, value in route.form.items()} | changed
            arguments["files"] = {"file": ("codes.csv", b"code\nOLD-1\n")}
        elif route.body is not None or changed:
            arguments["json"] = json.loads(self(json.dumps(route.body or {}))) | changed
        return self(route.path), arguments


NOTHING: dict[str, str | int] = {
    "batch_id": str(uuid4()), "order_id": str(uuid4()), "job_id": str(uuid4()), "sync_id": str(uuid4()),
    "packed_code": "P", "master_code": "M", "code": "SKA000001", "free_code": "SKA000004", "last_code": "SKA000005",
    "bad_code": "SKA000003", "label_job_id": str(uuid4()), "format_name": "nosuch", "company_prefix": "0000",
    "recall_id": str(uuid4()), "printer_id": str(uuid4()), "print_job_id": 1,
    "uniq_code": "ABCDEFGHJKLM", "product": "Silver", "queue_id": 1, "uuid": "u",
    "database_id": 1, "log_id": 1, "settlement": "STL1", "reference": "REF1",
}  # fmt: skip
NO_THINGS = Things(MadeBatch(uuid4(), uuid4(), "", None, None, []), NOTHING)


async def things_of(plant: Plant, prefix: str = "SKA", **names: str | int) -> Things:
    """Makes a batch of 5 units in cases of 2 with a completed job and one packed case, and one of most other things.
    `names` adds ids of things that were made elsewhere.
    """
    batch = await plant.prepared(5, [f"{prefix}000003"], units_per_case=2, serial_prefix=prefix)
    await plant.pack(batch)
    [job] = await plant.sql("SELECT id FROM qr_reverse_jobs WHERE batch_id = :id", id=batch.batch_id)
    label_job_id = await plant.label(batch, first_code=f"{prefix}000001", last_code=f"{prefix}000001")
    await plant.work("label_job")
    format_name = f"mine-{prefix.lower()}"
    await store_label_format(
        plant.runtime.database, caller=plant.caller, name=format_name, label_format=Roll(40.0, 30.0)
    )
    company_prefix = f"899{ord(prefix[-1]):03}"
    await claim_prefix(plant.runtime.database, caller=plant.caller, prefix=company_prefix)
    texts = RecallTexts("sand", "Return it.", "Kembalikan.")
    recall = await recall_batch(plant.runtime.database, caller=plant.caller, batch_id=batch.batch_id, texts=texts)
    printer_id = await added(plant, f"127.0.0.{len(prefix)}:9100")
    print_job_id = await ordered(plant, printer_id, batch)
    fan_out = await FanOut.announce(plant.runtime.database, plant.caller, 3)
    await fan_out.report(done("a") + failed("b"))
    made: dict[str, str | int] = {
        "batch_id": str(batch.batch_id),
        "order_id": str(batch.order_id),
        "job_id": str(job.id),
        "packed_code": batch.master_codes[0],
        "master_code": batch.master_codes[1],
        "code": f"{prefix}000001",
        "free_code": f"{prefix}000004",
        "last_code": f"{prefix}000005",
        "bad_code": f"{prefix}000003",
        "label_job_id": str(label_job_id),
        "format_name": format_name,
        "company_prefix": company_prefix,
        "recall_id": str(recall.recall_id),
        "printer_id": str(printer_id),
        "print_job_id": print_job_id,
        "uniq_code": batch.uniq_code,
        "product": "Gold 1 g",
        "sync_id": str(fan_out.batch_id),
    }
    return Things(batch, NOTHING | made | names)


async def event_of(plant: Plant) -> dict[str, str | int]:
    """Stores and processes an event of Accurate, and returns its ids. The settings must name the plant as owner of
    DATABASE.
    """
    sent = event()
    [receipt] = await Accurate(plant.runtime).send(sent)
    for handler in HANDLERS:
        while handler.queue.table == "webhook_queue" and await run_next(plant.runtime, handler, StopSignal()):
            pass
    return {"queue_id": receipt.queue_id, "uuid": sent["uuid"], "database_id": DATABASE}
