"""What an organisation has before it is fuzzed, and for every operation a request that is sound with it."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx2

from accurate import Accurate, event
from consumer import root_key
from plant import MadeBatch, Plant
from printer import added, ordered, own_host
from qrtrack.domain.akselgate.faults import Fault
from qrtrack.domain.labels.formats import Roll
from qrtrack.domain.stopping import StopSignal
from qrtrack.services.labels.label_formats import store_label_format
from qrtrack.services.packing.gtin_owners import claim_prefix
from qrtrack.services.recalls import RecallTexts, recall_batch
from qrtrack.worker.execution import run_next
from qrtrack.worker.handlers import HANDLERS
from treasury import Treasury, rows

Values = dict[str, Any]


@dataclass(frozen=True)
class Sound:
    """A request that is answered with 2xx: parameters of path and query by name, and the body."""

    path: Values = field(default_factory=dict)
    query: Values = field(default_factory=dict)
    body: Any = None


@dataclass
class Seeds:
    """`values`: what parameters may be, by the name of a dictionary in schemathesis.toml. `sound`: by operationId."""

    values: dict[str, list[Any]] = field(default_factory=dict)
    sound: dict[str, Sound] = field(default_factory=dict)

    def know(self, name: str, *values: Any) -> None:
        known = self.values.setdefault(name, [])
        known += [str(value) if isinstance(value, UUID) else value for value in values]

    def asks(self, operation: str, body: Any = None, *, path: Values | None = None, **query: Any) -> None:
        self.sound[operation] = Sound(path or {}, query, body)


async def seed(treasury: Treasury) -> Seeds:
    """Everything of the treasury's organisation."""
    seeds = Seeds()
    plant = Plant(treasury.runtime, treasury.admin)
    await _seed_packing(plant, seeds)
    await _seed_jobs(plant, seeds)
    await _seed_printers(plant, seeds)
    await _seed_labels(plant, seeds)
    await _seed_money(treasury, seeds)
    await _seed_accurate(Accurate(treasury.runtime), seeds)
    await _seed_progress(treasury.client(treasury.admin), seeds)
    for operation in ("run_worker", "run_worker_by_get", "run_reverse_job", "run_reverse_job_by_get"):
        seeds.asks(operation, max_seconds=1)
    return seeds


async def _made(plant: Plant, seeds: Seeds, prefix: str, *, prepared: bool = False, **asked: Any) -> MadeBatch:
    """A batch of 8 codes in cases of 2, the last code excluded where it is prepared."""
    codes = [f"{prefix}{number:06d}" for number in range(1, 9)]
    asked = {"serial_prefix": prefix, "units_per_case": 2, **asked}
    batch = await (plant.prepared(8, codes[7:], **asked) if prepared else plant.batch(8, **asked))
    seeds.know("batch_id", batch.batch_id)
    seeds.know("master_code", *batch.master_codes)
    seeds.know("code", codes[0], codes[7], f"{codes[1]}-{codes[2]}")
    return batch


async def _seed_packing(plant: Plant, seeds: Seeds) -> None:
    seeds.know("order_id", plant.order_id)
    seeds.know("manufacturer_org_id", plant.caller.organisation_id)

    def of(batch: MadeBatch, **more: Any) -> Values:
        return {"batch_id": str(batch.batch_id), "order_id": str(batch.order_id), **more}

    packed = await _made(plant, seeds, "PAK", prepared=True)
    seeds.asks("pack_case", of(packed, master_code=packed.master_codes[0]))
    linked = await _made(plant, seeds, "LNK")
    seeds.asks("link_codes", of(linked, master_code=linked.master_codes[0], codes=["LNK000001"]))
    undone = await _made(plant, seeds, "UND", prepared=True)
    await plant.pack(undone, 0)
    await plant.pack(undone, 1)
    seeds.asks("unlink_codes", {"master_code": undone.master_codes[0], "reason": "Box dropped"})
    seeds.asks(
        "move_case",
        {"from_master_code": undone.master_codes[1], "to_master_code": undone.master_codes[2], "reason": "Wrong case"},
    )
    marked = await _made(plant, seeds, "MRK", prepared=True)
    batch_id = str(marked.batch_id)
    seeds.asks("mark_codes_printed", {"batch_id": batch_id, "codes": ["MRK000001"]})
    seeds.asks("void_codes", {"batch_id": batch_id, "codes": ["MRK000002"], "reason": "Torn"})
    seeds.asks("readmit_codes", {"batch_id": batch_id, "codes": ["MRK000008"]})
    for operation in ("get_batch", "reconcile_batch", "get_batch_qr_svg", "get_batch_qr_png"):
        seeds.asks(operation, path={"batch_id": str(packed.batch_id)})
    for operation in ("export_codes_csv", "export_codes_xlsx", "export_cases_csv", "export_cases_xlsx"):
        seeds.asks(operation, path={"batch_id": str(packed.batch_id)})
    seeds.asks("export_reconciliation_xlsx", path={"batch_id": str(packed.batch_id)})
    for operation in ("list_batch_codes", "list_batch_cases"):
        seeds.asks(operation, path={"batch_id": str(packed.batch_id)}, limit=3)
    seeds.asks("trace_code", path={"code": "UND000001"})
    seeds.asks("search_things", q="UND000001")
    await _seed_checks(plant, seeds)
    await _seed_ends(plant, seeds)


async def _seed_checks(plant: Plant, seeds: Seeds) -> None:
    checked = await _made(plant, seeds, "CHK")
    seeds.know("uniq_code", checked.uniq_code)
    first, second = [await root_key(plant, checked, number) for number in (1, 2)]
    seeds.asks("verify_unit", {"uniq_code": checked.uniq_code, "code": "CHK000001", "root_key": first})
    seeds.asks("redeem_unit", {"uniq_code": checked.uniq_code, "code": "CHK000002", "root_key": second})
    seeds.asks("report_product", {"uniq_code": checked.uniq_code, "reason": "not_me", "text": "Shop in Solo"})


async def _seed_ends(plant: Plant, seeds: Seeds) -> None:
    """Batches of which nothing else is asked afterwards."""
    closing, forgetting, failed = [await _made(plant, seeds, prefix) for prefix in ("CLO", "FOR", "FLD")]
    seeds.asks("close_batch", {"reason": "Ended short"}, path={"batch_id": str(closing.batch_id)})
    seeds.asks("forget_keys", {}, path={"batch_id": str(forgetting.batch_id)})
    await plant.work("hashing")
    await plant.sql("UPDATE qr_batches SET status = 'failed', error_message = 'x' WHERE id = :id", id=failed.batch_id)
    seeds.asks("retry_batch", {}, path={"batch_id": str(failed.batch_id)})
    recalled = await _made(plant, seeds, "RCL")
    recall = {"batch_id": str(recalled.batch_id), "text_en": "Return it.", "text_id": "Kembalikan."}
    seeds.asks("recall_units", recall | {"reason": "glass"})
    texts = RecallTexts("sand", "Return it.", "Kembalikan.")
    database = plant.runtime.database
    made = await recall_batch(database, caller=plant.caller, batch_id=recalled.batch_id, texts=texts)
    seeds.know("recall_id", made.recall_id)
    seeds.asks("lift_recall", {"recall_id": str(made.recall_id), "reason": "no sand"})
    seeds.asks("list_recalls", in_force="true")
    seeds.asks("list_verifications", path={"batch_id": str(recalled.batch_id)}, show="reports")
    seeds.asks("get_recall", path={"recall_id": str(made.recall_id)})
    released = await _made(plant, seeds, "REL", requires_release=True)
    seeds.asks("release_batch", {"at": "2031-01-31T08:00:00+07:00"}, path={"batch_id": str(released.batch_id)})
    order = {
        "order_id": str(plant.order_id), "product_name": "Gold 1 g", "quantity": 5, "serial_prefix": "NEW",
        "units_per_case": 5, "gtin": "04006381333931", "lot": "L1", "expires_on": "2031-01-31",
    }  # fmt: skip
    seeds.asks("create_batch", order)
    seeds.know("prefix", "8991234")
    seeds.asks("list_company_prefixes")
    seeds.asks("claim_company_prefix", path={"prefix": "8991234"})
    await claim_prefix(plant.runtime.database, caller=plant.caller, prefix="89999")
    seeds.asks("delete_company_prefix", path={"prefix": "89999"})
    form = {"order_id": str(plant.order_id), "product_name": "Old gold", "file": "code\nOLD-1\nOLD-2\n"}
    seeds.asks("import_batch", form)


async def _seed_jobs(plant: Plant, seeds: Seeds) -> None:
    waiting, failed, whole = [await _made(plant, seeds, prefix) for prefix in ("WAI", "RET", "SUB")]
    jobs = {"waiting": await plant.submit(waiting), "failed": await plant.submit(failed)}
    await plant.sql("UPDATE qr_reverse_jobs SET run_at = now() + interval '1 day' WHERE status = 'queued'")
    await plant.sql(
        "UPDATE qr_reverse_jobs SET status = 'failed', error_message = 'x', finished_at = now() WHERE id = :id",
        id=jobs["failed"],
    )
    done = await plant.sql("SELECT id FROM qr_reverse_jobs WHERE status = 'completed' ORDER BY created_at")
    seeds.know("job_id", *jobs.values(), *(row.id for row in done))
    order = {"batch_id": str(whole.batch_id), "order_id": str(whole.order_id), "exclude_codes": ["SUB000002"]}
    seeds.asks("submit_reverse_job", order)
    seeds.asks("cancel_reverse_job", {"job_id": str(jobs["waiting"])})
    seeds.asks("retry_reverse_job", {"job_id": str(jobs["failed"])})
    seeds.asks("cancel_matching_jobs", {"dry_run": True})
    seeds.asks("retry_matching_jobs", {"batch_id": str(waiting.batch_id)})
    for operation in ("get_reverse_job", "list_reverse_job_logs", "list_prepared_codes", "export_prepared_csv",
                      "export_prepared_xlsx"):  # fmt: skip
        seeds.asks(operation, job_id=str(done[0].id))


async def _seed_printers(plant: Plant, seeds: Seeds) -> None:
    batch = await _made(plant, seeds, "PRT")
    kept, gone = [await added(plant, f"{own_host()}:9100") for _ in range(2)]
    waiting, other, unknown = [await ordered(plant, kept, batch, case) for case in (1, 2, 4)]
    await plant.sql(
        "UPDATE print_jobs SET status = 'unknown', sending_at = now(), finished_at = now() WHERE id = :id", id=unknown
    )
    seeds.know("printer_id", kept)
    seeds.know("print_job_id", waiting, other, unknown)
    seeds.asks("add_printer", {"name": "Line 7", "address": f"{own_host()}:9100", "stations": ["line-7"]})
    seeds.asks("change_printer", {"dpi": 300}, path={"printer_id": str(kept)})
    seeds.asks("delete_printer", path={"printer_id": str(gone)})
    seeds.asks("print_on", {"batch_id": str(batch.batch_id), "case_number": 3}, path={"printer_id": str(kept)})
    seeds.asks("get_print_job", path={"print_job_id": waiting})
    seeds.asks("cancel_print_job", {}, path={"print_job_id": other})
    seeds.asks("confirm_print_job", {}, path={"print_job_id": unknown})


async def _seed_labels(plant: Plant, seeds: Seeds) -> None:
    """A completed job, one that failed, and one that waits and stays waiting."""
    batch = await _made(plant, seeds, "LBL")
    done = await plant.label(batch, last_code="LBL000002")
    await plant.work("label_job")
    failed = await plant.label(batch, first_code="LBL000003", last_code="LBL000004")
    waiting = await plant.label(batch, first_code="LBL000005", last_code="LBL000006")
    await plant.sql(
        "UPDATE label_jobs SET status = 'failed', error_message = 'x', finished_at = now() WHERE id = :id", id=failed
    )
    await plant.sql("UPDATE label_jobs SET run_at = now() + interval '1 day' WHERE id = :id", id=waiting)
    seeds.know("label_job_id", done, failed, waiting)
    seeds.asks("submit_label_job", {"first_code": "LBL000007"}, path={"batch_id": str(batch.batch_id)})
    for operation in ("get_label_job", "get_label_file"):
        seeds.asks(operation, path={"label_job_id": str(done)})
    seeds.asks("cancel_label_job", {}, path={"label_job_id": str(waiting)})
    seeds.asks("retry_label_job", {}, path={"label_job_id": str(failed)})
    seeds.asks("get_calibration_page", path={"name": "a4-65"})
    database = plant.runtime.database
    await store_label_format(database, caller=plant.caller, name="gone", label_format=Roll(50, 30))
    seeds.asks("delete_label_format", path={"name": "gone"})


async def _seed_money(treasury: Treasury, seeds: Seeds) -> None:
    accepted = await treasury.sent("ACC1", "ACC2", kd_settle="STLACC")
    rejected = await treasury.sent("REJ1", fault=Fault.REJECT, kd_settle="STLREJ")
    unknown = [await treasury.sent(f"UNK{n}", fault=Fault.RESET, kd_settle=f"STLUNK{n}") for n in range(3)]
    await treasury.call_back(accepted, "ACC1")
    token = treasury.runtime.dispatcher.tokens.token_of(accepted)
    seeds.know("log_id", accepted, rejected, *unknown)
    seeds.know("kd_settle", "STLACC", "STLREJ", "STLUNK0", "STLNEW")
    seeds.know("token", token)
    seeds.asks("receive_callback", path={"token": token}, ref="ACC2", rescore="00")
    seeds.asks("get_attempt", path={"log_id": accepted})
    resolution = {"outcome": "not_sent", "note": "Ms Sari of the bank, by telephone"}
    seeds.asks("resolve_attempt", resolution, path={"log_id": unknown[0]})
    batch = {"transaction_type": "CA_ESCROW", "kd_settle": "STLNEW", "transactions": rows("NEW1", "NEW2")}
    seeds.asks("dispatch_settlement", batch)
    seeds.asks("get_report", date="2026-11-26")
    seeds.asks("export_report_xlsx", date="2026-11-26")
    # One after the other, and as often as is dispatched.
    faults = (Fault.NONE, Fault.REJECT, Fault.RESET, Fault.HALF, Fault.ERROR, Fault.INVALID_JSON, Fault.DUPLICATE)
    treasury.gateway.faults.extend(faults * 50)


async def _seed_accurate(accurate: Accurate, seeds: Seeds) -> None:
    receipts = await accurate.send(event(), event("ITEM"), event("STRANGE"), {"no": "event"}, event())
    for handler in HANDLERS:
        while handler.queue.table == "webhook_queue" and await run_next(accurate.runtime, handler, StopSignal()):
            pass
    ids = [receipt.queue_id for receipt in receipts]
    await accurate.sql("UPDATE webhook_queue SET status = 'dead' WHERE id = :id", id=ids[4])
    seeds.know("queue_id", *ids)
    seeds.asks("get_event", path={"queue_id": ids[0]})
    seeds.asks("replay_event", {"reason": "a handler exists now"}, path={"queue_id": ids[0]})
    seeds.asks("replay_events", {"status": "dead"})
    seeds.asks("receive_webhooks", [event(), event(), {"no": "event"}])


async def _seed_progress(client: httpx2.AsyncClient, seeds: Seeds) -> None:
    path = "/api/progress/batches"
    seeds.asks("list_progress_batches", status="processing")
    seeds.asks("create_progress_batch", {"name": "Price list", "total_records": 3})
    for operation in (
        "report_progress_records",
        "get_progress_batch",
        "list_progress_failures",
        "cancel_progress_batch",
    ):
        made = (await client.post(path, json={"name": "Price list", "total_records": 3})).json()["batch_id"]
        records = [{"key": "a", "success": True}, {"key": "b", "success": False, "error": "timeout"}]
        await client.post(f"{path}/{made}/records", json={"records": records})
        seeds.know("sync_batch_id", made)
        more = {"records": [{"key": "c", "success": True}]} if operation == "report_progress_records" else None
        seeds.asks(operation, more, path={"batch_id": made})
        seeds.asks("recalculate_counters", batch_id=made)
