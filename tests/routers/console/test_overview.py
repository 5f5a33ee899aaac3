"""The overview without a browser: what it shows, to whom, and that it is read by indexes."""

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import httpx2
import pytest
from fastapi import FastAPI

from every_table import fill
from plant import Plant, ska
from qrtrack.console.language import catalogue
from qrtrack.domain.identity import Caller, Role
from qrtrack.repositories.overviews import WANTED, PackedHour
from qrtrack.repositories.queues import PERIODIC_TASKS, QUEUES
from qrtrack.runtime import Runtime
from qrtrack.services.overviews import SEEN_WITH, SHOWN_STATIONS, packed_today, read_overview
from qrtrack.settings import Settings
from routers.conftest import ClientOf
from routers.test_console import signed_in

ORGANISATION: Final = UUID("01939c3e-7d2f-7c44-9a53-0c8f2b1f6a10")
JAKARTA: Final = ZoneInfo("Asia/Jakarta")
LINKS: Final = {
    "failed_batches": "/console/batches",
    "failed_jobs": "/console/jobs?status=failed",
    "failed_label_jobs": "/console#errors",
    "unknown_prints": "/console/settings#printers",
    "printers_away": "/console/settings#printers",
    "verification_alerts": "/console/verification",
    "verification_reports": "/console/verification",
    "dead_webhooks": "/console/webhooks?status=dead",
    "silence": "/console/webhooks",
    "unknown_dispatches": "/console/settlements?outcome=unknown",
}
FAILED: Final = "status = 'failed', progress = 0, finished_at = now(), lease_token = NULL, lease_expires_at = NULL"
TROUBLE: Final = (
    f"UPDATE qr_reverse_jobs SET {FAILED}, result_summary = NULL, error_message = 'disk full'",
    f"UPDATE label_jobs SET {FAILED}, error_message = 'no font'",
    (
        "UPDATE print_jobs SET status = 'unknown', sending_at = now(), finished_at = now(),"
        " error_message = 'cable pulled' WHERE case_id IS NOT NULL"
    ),
    (
        "UPDATE print_jobs SET error_message = 'not reached', created_at = now() - interval '1 hour'"
        " WHERE label_job_id IS NOT NULL"
    ),
    "UPDATE qr_batches SET status = 'failed', error_message = 'keys ran out'",
    "UPDATE t_akselgate_transaction_log SET outcome = 'unknown', status_code_res = 'NETWORK_ERROR'",
    (
        "INSERT INTO accurate_sources VALUES (7, 'ITEM', now() - interval '20 hours'),"
        " (7, 'SALES_INVOICE', now() - interval '13 hours'), (8, 'ITEM', now() - interval '20 hours')"
    ),
)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"accurate_databases": f"7={ORGANISATION}"})


@pytest.fixture
def caller() -> Caller:
    return Caller("admin", ORGANISATION, frozenset({Role.ADMIN}))


@pytest.fixture
def visitor(app: FastAPI, runtime: Runtime, client_of: ClientOf) -> httpx2.AsyncClient:
    return client_of(app, runtime)


async def page_for(visitor: httpx2.AsyncClient, runtime: Runtime, caller: Caller, address: str = "/console") -> str:
    await signed_in(visitor, runtime, caller)
    answer = await visitor.get(address)
    assert answer.status_code == 200
    return answer.text


def said(page: str, name: str) -> bool:
    """The page has the sentence about this kind of trouble."""
    return catalogue("en")[f"wanted.{name}"].partition("{")[0].replace("'", "&#39;") in page


async def in_trouble(plant: Plant) -> None:
    await fill(plant)
    for statement in TROUBLE:
        await plant.sql(statement)


@pytest.mark.parametrize(
    ("roles", "seen"),
    [
        ({Role.ADMIN}, set(LINKS)),
        ({Role.FINANCE}, {"unknown_dispatches"}),
        ({Role.MANAGER}, set(LINKS) - {"unknown_dispatches", "dead_webhooks", "silence"}),
    ],
)
async def test_the_overview_links_troubles_for_the_roles_that_can_act(
    visitor: httpx2.AsyncClient, runtime: Runtime, plant: Plant, roles: set[Role], seen: set[str]
) -> None:
    await in_trouble(plant)
    page = await page_for(visitor, runtime, Caller("somebody", ORGANISATION, frozenset(roles)))
    for name, link in LINKS.items():
        assert said(page, name) == (name in seen), name
        if name in seen:
            assert f'href="{link}"' in page, name
    assert ("database 7 has sent nothing for 13 h" in page) == ("silence" in seen)
    assert "database 8" not in page
    assert ("disk full" in page) == ("failed_jobs" in seen)


async def test_an_operator_who_may_not_open_the_settings_gets_the_sentence_without_a_link(
    visitor: httpx2.AsyncClient, runtime: Runtime, plant: Plant
) -> None:
    await in_trouble(plant)
    operator = Caller("operator", plant.caller.organisation_id, frozenset({Role.OPERATOR}))
    page = await page_for(visitor, runtime, operator)
    assert said(page, "unknown_prints")
    assert "/console/settings" not in page


async def test_a_label_that_was_printed_again_needs_nobody(
    visitor: httpx2.AsyncClient, runtime: Runtime, plant: Plant
) -> None:
    await in_trouble(plant)
    assert said(await page_for(visitor, runtime, plant.caller), "unknown_prints")
    settings = "/console/settings"
    assert "cable pulled" in await page_for(visitor, runtime, plant.caller, settings)
    await plant.sql(
        "INSERT INTO print_jobs (printer_id, batch_id, case_id, created_by, status, sending_at, finished_at,"
        " manufacturer_org_id) SELECT printer_id, batch_id, case_id, created_by, 'completed', now(), now(),"
        " manufacturer_org_id FROM print_jobs WHERE status = 'unknown'"
    )
    assert not said(await page_for(visitor, runtime, plant.caller), "unknown_prints")
    assert "cable pulled" not in await page_for(visitor, runtime, plant.caller, settings)


async def test_nothing_of_another_organisation_is_counted_or_named(
    visitor: httpx2.AsyncClient, runtime: Runtime, plant: Plant
) -> None:
    await in_trouble(plant)
    stranger = Caller("stranger", uuid4(), frozenset({Role.ADMIN}))
    for address in ("/console", "/console?wall=1", "/console/overview/now?wall=1"):
        page = await page_for(visitor, runtime, stranger, address)
        assert "Nothing needs a person now." in page
        assert "Gold 1 g" not in page
        assert "No case was packed today." in page
        assert "Nothing runs." in page


async def test_cases_of_today_are_counted_by_station_and_hour_of_the_plant(runtime: Runtime, plant: Plant) -> None:
    batch = await plant.prepared(100, units_per_case=10)
    for case, station in enumerate(["Line 1", "Line 1", "Line 2", "Line 2", None]):
        await plant.pack(batch, case, station=station)
    at = datetime(2026, 11, 25, 18, 30, tzinfo=UTC)  # 01:30 of the next day in the plant
    for case, hours in enumerate((0, 2, 2, 0, -3)):
        await plant.sql(
            "UPDATE qr_master_codes SET packed_at = :at WHERE master_code = :code",
            at=at + timedelta(hours=hours), code=batch.master_codes[case],
        )  # fmt: skip
    await plant.unlink(master_code=batch.master_codes[3])
    now = datetime(2026, 11, 26, 4, 15, tzinfo=JAKARTA)
    overview = await read_overview(runtime.database, caller=plant.caller, now=now, owned=())
    assert overview.packed is not None
    assert list(overview.packed.hours) == [1, 2, 3, 4]
    assert [(day.station, day.cases) for day in overview.packed.stations] == [
        ("Line 1", [1, 0, 1, 0]),
        ("Line 2", [0, 0, 1, 0]),
    ]
    assert overview.packed.total == 3


def test_the_busiest_stations_are_shown_and_the_others_are_summed() -> None:
    packed = packed_today([PackedHour(f"Line {number}", 7, number) for number in range(1, 21)], until=8)
    assert [day.station for day in packed.stations][:2] == ["Line 20", "Line 19"]
    assert (len(packed.stations), packed.others) == (SHOWN_STATIONS, sum(range(1, 9)))
    assert (packed.total, packed.most) == (210, 20)


async def test_running_and_waiting_work_is_shown(visitor: httpx2.AsyncClient, runtime: Runtime, plant: Plant) -> None:
    batch = await plant.batch(20)
    await plant.submit(batch, ska(3))
    await plant.order(30, product_name="Soap")
    await plant.label(batch, first_code=ska(1)[0], last_code=ska(2)[0])
    overview = await read_overview(runtime.database, caller=plant.caller, now=datetime.now(JAKARTA), owned=())
    shown = sorted((work.kind, work.name, work.progress) for work in overview.running)
    assert shown == [
        ("creating", "Soap", 0),
        ("hashing", "Gold 1 g", 0),
        ("label_job", "Gold 1 g", 0),
        ("reverse_job", "Gold 1 g", 0),
    ]
    queues = {queue.kind: queue for queue in overview.queues}
    assert set(queues) == {"creating", "hashing", "label_job", "reverse_job"}
    assert queues["reverse_job"].queued == 1
    assert queues["reverse_job"].oldest_seconds is not None
    page = await page_for(visitor, runtime, plant.caller)
    for words in ("Soap", "Preparing units", "Drawing labels", "Making codes", "Securing keys"):
        assert words in page
    await plant.work("reverse_job")
    assert "Preparing units" not in (await visitor.get("/console/overview/now")).text


async def test_the_wall_has_no_navigation_and_refreshes_itself(
    visitor: httpx2.AsyncClient, runtime: Runtime, plant: Plant
) -> None:
    batch = await plant.prepared(20, units_per_case=10)
    await plant.pack(batch, 0, station="Line 7")
    page = await page_for(visitor, runtime, plant.caller, "/console?wall=1")
    assert "Line 7" in page
    assert 'hx-get="/console/overview/now?wall=1"' in page
    assert "<nav" not in page


def test_every_kind_of_work_and_trouble_is_said_and_has_a_permission() -> None:
    kinds = {queue.kind for queue in QUEUES if queue is not PERIODIC_TASKS}
    assert kinds | set(WANTED) | {"batch", "progress", "silence"} == set(SEEN_WITH)
    assert set(LINKS) == set(WANTED) | {"silence"}
    for kind in kinds:
        assert f"work.{kind}" in catalogue("en")
