"""An organisation in which everything has happened: every state that a page shows, long names, and more than one page
of each list. For the tests of all pages and their screenshots.
"""

from collections.abc import Mapping
from typing import Final
from uuid import UUID

from uuid_utils.compat import uuid7

from console.plant_rows import BATCHES, FAILED_LABELS, FAN_OUTS, JOBS, SETS
from plant import MadeBatch, Plant, ska
from printer import added, ordered
from qrtrack.domain.labels.documents import FileFormat
from qrtrack.domain.labels.formats import Roll
from qrtrack.domain.labels.label_jobs import Labelled
from qrtrack.domain.packing.batches import SerialMode
from qrtrack.services.labels.label_formats import store_label_format
from qrtrack.services.packing.batches import close_batch
from qrtrack.services.packing.codes import void_codes
from qrtrack.services.recalls import RecallTexts, lift_recall, recall_batch, recall_case

STATIONS: Final = ("Line 1", "Line 4", "Packing table 3, hall B, night shift")
LONG_NAME: Final = (
    "Gold bar 0.5 g, Idul Fitri gift edition with certificate, tamper-evident card and the sleeve of the "
    "Yogyakarta museum shop, Gold-0.5g-IF2027-CERT-TEC-YOGYAKARTA-MUSEUM-SLEEVE-REV-B"
)
DATABASE: Final = 1443290

FIRST_IDS: Final = {
    "event_id": "SELECT max(id) FROM webhook_queue WHERE manufacturer_org_id = :org AND status = 'dead'",
    "attempt_id": "SELECT min(id) FROM t_akselgate_transaction_log WHERE manufacturer_org_id = :org"
    " AND outcome = 'unknown'",
    "print_job_id": "SELECT min(id) FROM print_jobs WHERE manufacturer_org_id = :org",
    "report_id": "SELECT max(id) FROM verification_reports WHERE manufacturer_org_id = :org",
    "alert_id": "SELECT max(id) FROM verification_alerts WHERE manufacturer_org_id = :org",
    "case_id": "SELECT min(id) FROM qr_master_codes WHERE manufacturer_org_id = :org AND status = 'packed'",
    "day": "SELECT current_date",
}


async def fill_plant(plant: Plant) -> Mapping[str, str]:
    """Fills the organisation. Returns what fills the parameters of a page's address: see every_page.py."""
    org = plant.caller.organisation_id
    batches = _ids()
    await plant.sql(BATCHES, ids=batches, org=str(org), long_name=LONG_NAME)
    batch = await _pack(plant)
    jobs, fan_outs = _ids(), _ids()
    await plant.sql(JOBS, ids=jobs, org=org, batch=batch.batch_id, order=batch.order_id)
    await plant.sql(FAN_OUTS, ids=fan_outs, org=org, long_name=LONG_NAME)
    printer, label_job = await _print(plant, batch)
    values = {"org": org, "batch": batch.batch_id, "database": DATABASE}
    for statement in SETS:
        await plant.sql(statement, **{name: value for name, value in values.items() if f":{name}" in statement})
    firsts = {name: (await plant.sql(find, **({} if name == "day" else {"org": org})))[0][0]
              for name, find in FIRST_IDS.items()}  # fmt: skip
    return {
        "batch_id": str(batch.batch_id),
        "job_id": str(jobs[1]),
        "label_job_id": str(label_job),
        "printer_id": str(printer),
        "recall_id": str(await _recall(plant, batch)),
        "progress.batch_id": str(fan_outs[1]),
        "master_code": batch.master_codes[0],
        "batch": str(batch.batch_id),
        "next_master_code": batch.master_codes[5],
        "case_number": "1",
        "q": ska(1)[0],
        "code": ska(1)[0],
        "name": "sleeve",
        **{name: str(value) for name, value in firsts.items()},
        "log_id": str(firsts["attempt_id"]),
        "print_id": str(firsts["print_job_id"]),
        "preset": "a4-65",
    }


def settings_for(plant: Plant) -> Mapping[str, str]:
    """Of a server that shows the organisation: it has the account at the gateway."""
    return {"AKSELGATE_ORGANISATION": str(plant.caller.organisation_id)}


def _ids() -> list[UUID]:
    """The newest first, as lists show them."""
    return [uuid7() for _ in range(60)][::-1]


async def _pack(plant: Plant) -> MadeBatch:
    """Batches of every kind. Of the last one seven cases are packed at three stations; one is undone, one is moved."""
    await plant.batch(200, product_name="Gold 10 g", serial_mode=SerialMode.RANDOM, serial_prefix="GX")
    await plant.batch(60, product_name=LONG_NAME, serial_prefix="IF", requires_release=True, lot="L-2611-B",
                      variants=[("750 / 18 karat", 40), ("999.9", 20)], units_per_case=10)  # fmt: skip
    closed = await plant.prepared(100, product_name="Gold 5 g", serial_prefix="SE", units_per_case=50)
    await plant.pack(closed)
    await close_batch(plant.runtime.database, caller=plant.caller, batch_id=closed.batch_id, reason="Order cancelled")
    batch = await plant.prepared(1000, exclude=ska(3, 250), gtin="09521234543213", lot="L-2611")
    for case in range(7):
        await plant.pack(batch, case, station=STATIONS[case % 3])
    await plant.unlink(master_code=batch.master_codes[5], reason="The seal of the box broke")
    await plant.move(batch, 6, 8)
    await void_codes(
        plant.runtime.database, caller=plant.caller, batch_id=batch.batch_id, codes=ska(3), reason="Scratched"
    )
    return batch


async def _print(plant: Plant, batch: MadeBatch) -> tuple[UUID, UUID]:
    """Label jobs drawn, failed and queued; printers, one with a print of which nobody knows whether it came out."""
    database, caller = plant.runtime.database, plant.caller
    drawn = await plant.label(batch, first_code=ska(1)[0], last_code=ska(40)[0])
    failed = await plant.label(batch, Labelled.CASES)
    await plant.work("label_job")
    await plant.sql(FAILED_LABELS, job=failed)
    await plant.label(batch, first_code=ska(41)[0], last_code=ska(1000)[0])
    await store_label_format(database, caller=caller, name="sleeve", label_format=Roll(40.0, 30.0))
    await added(plant, "127.0.0.1:9101", name="Office", file_format=FileFormat.PDF, stations=[])
    printer = await added(plant, "127.0.0.1:9100", name=f"Zebra at {STATIONS[2]}", stations=list(STATIONS))
    for case in range(1, 5):
        await ordered(plant, printer, batch, case)
    return printer, drawn


async def _recall(plant: Plant, batch: MadeBatch) -> UUID:
    """One recall in force, one lifted. Returns the one in force."""
    database, caller = plant.runtime.database, plant.caller
    texts = RecallTexts("Glass in the sleeve", "Please return it to the shop.", "Kembalikan ke toko.")
    lifted = await recall_batch(database, caller=caller, batch_id=batch.batch_id, texts=texts)
    await lift_recall(database, caller=caller, recall_id=lifted.recall_id, reason="It was another batch")
    recall = await recall_case(database, caller=caller, master_code=batch.master_codes[1], texts=texts)
    return recall.recall_id
