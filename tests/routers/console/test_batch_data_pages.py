"""The data of a batch and the verification on pages, without a browser: what they show, to whom, and what they read."""

import re
from inspect import getsource
from typing import Final, get_args
from uuid import uuid4

import httpx2
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from plant import MadeBatch, Plant, ska
from qrtrack.console.language import catalogue
from qrtrack.domain.field_codes import FieldCode
from qrtrack.domain.identity import Caller, Role
from qrtrack.domain.packing import imports
from qrtrack.domain.packing.code_lists import PastedCodes
from qrtrack.domain.packing.selections import BatchSelection
from qrtrack.domain.verification.alerts import AlertKind
from qrtrack.domain.verification.checks import Result
from qrtrack.domain.verification.reports import ReportReason
from qrtrack.repositories import Repositories
from qrtrack.routers.languages import LANGUAGES
from qrtrack.runtime import Runtime
from qrtrack.schemas.packing.codes import ListedStatus
from qrtrack.services.console_sessions import open_session
from qrtrack.services.packing.batches import close_batch
from qrtrack.services.recalls import RecallTexts, lift_recall, recall_batch, recall_case, recall_codes
from routers.conftest import ClientOf

TEXTS: Final = RecallTexts("Glass in lot 7", "Bring it <b>back</b>.", "Kembalikan.")


@pytest.fixture
async def visitor(app: FastAPI, runtime: Runtime, client_of: ClientOf, plant: Plant) -> httpx2.AsyncClient:
    """A manager of the plant, in a browser."""
    return await enter(client_of(app, runtime), runtime, plant.caller)


async def enter(client: httpx2.AsyncClient, runtime: Runtime, caller: Caller) -> httpx2.AsyncClient:
    client.cookies.set("qrtrack_session", await open_session(runtime.database, caller, station=None, hours=1))
    return client


async def page(visitor: httpx2.AsyncClient, address: str, status: int = 200) -> str:
    answer = await visitor.get(address)
    assert answer.status_code == status, address
    assert " style=" not in answer.text
    return answer.text


async def record(plant: Plant, batch: MadeBatch) -> None:
    """One check of each result, one report for each reason, one alert of each kind."""
    whose = {"org": plant.caller.organisation_id, "batch": batch.batch_id}
    for result in set(Result) - {Result.UNKNOWN}:
        await plant.sql(
            "INSERT INTO verifications (manufacturer_org_id, batch_id, sequence_number, purpose, result)"
            " VALUES (:org, :batch, 2, 'consumer', :result)", **whose, result=result,
        )  # fmt: skip
    for reason in ReportReason:
        await plant.sql(
            "INSERT INTO verification_reports (manufacturer_org_id, batch_id, code, reason, message, network)"
            " VALUES (:org, :batch, 'SKA000002', :reason, '<i>torn</i>', '\\x00ff')", **whose, reason=reason,
        )  # fmt: skip
    for kind in AlertKind:
        await plant.sql(
            "INSERT INTO verification_alerts (manufacturer_org_id, batch_id, kind, sequence_number)"
            " VALUES (:org, :batch, :kind, CASE WHEN :kind <> 'guessing' THEN 2 END)", **whose, kind=kind,
        )  # fmt: skip


@pytest.mark.parametrize("language", LANGUAGES)
async def test_every_page_shows_its_state_in_every_language(
    visitor: httpx2.AsyncClient, plant: Plant, language: str
) -> None:
    visitor.cookies.set("qrtrack_language", language)
    ordered = await plant.order(5, requires_release=True)
    addresses = [f"/console/verification?show={show}" for show in ("alerts", "reports", "checks")]
    addresses += [f"/console/batches/{ordered.batch_id}{part}" for part in ("", "/codes", "/reconciliation")]
    for address in [*addresses, "/console/batches/import", "/console/verification/now"]:
        await page(visitor, address)
    await plant.work("creating")
    batch = MadeBatch(ordered.batch_id, plant.order_id, ordered.uniq_code, None, None, ())
    await record(plant, batch)
    await recall_batch(plant.runtime.database, caller=plant.caller, batch_id=batch.batch_id, texts=TEXTS)
    for address in addresses:
        shown = await page(visitor, address)
        assert "<i>torn" not in shown
        assert "<b>back" not in shown
    await close_batch(plant.runtime.database, caller=plant.caller, batch_id=batch.batch_id, reason="Run ended short")
    assert 'id="recalled"' in await page(visitor, f"/console/packing/recent?batch={batch.batch_id}")
    closed = await page(visitor, f"/console/batches/{batch.batch_id}")
    assert f'href="#recalls">{catalogue(language)["recall.recalled"]}</a></h1>' in closed
    assert "Run ended short" in closed
    assert 'id="close"' not in closed


async def test_a_recalled_batch_is_marked_however_many_recalls_are_newer(
    visitor: httpx2.AsyncClient, plant: Plant
) -> None:
    batch = await plant.batch(5)
    database = plant.runtime.database
    await recall_batch(database, caller=plant.caller, batch_id=batch.batch_id, texts=TEXTS)
    for _ in range(20):
        await recall_codes(database, caller=plant.caller, pasted=PastedCodes(ska(1)), texts=TEXTS)
    assert 'id="recalled"' in await page(visitor, f"/console/packing/recent?batch={batch.batch_id}")
    assert 'href="#recalls">' in await page(visitor, f"/console/batches/{batch.batch_id}")


def test_everything_that_the_pages_name_has_a_text() -> None:
    """Of a key that is built from a value, no template names the text."""
    named = [f"state.{status}" for status in get_args(ListedStatus)]
    named += [f"alert.{kind}{part}" for kind in AlertKind for part in ("", "_todo")]
    named += [f"report.{reason}" for reason in ReportReason]
    refused = re.findall(r"FieldCode\.(\w+)", getsource(imports))
    named += [f"import_error.{FieldCode[name]}" for name in refused]
    named += [f"result.{result}" for result in set(Result) - {Result.UNKNOWN}]
    assert [key for key in named if key not in catalogue("en")] == []


async def test_nothing_of_another_organisation_is_shown(
    app: FastAPI, runtime: Runtime, client_of: ClientOf, plant: Plant
) -> None:
    batch = await plant.batch(5)
    await record(plant, batch)
    await recall_batch(plant.runtime.database, caller=plant.caller, batch_id=batch.batch_id, texts=TEXTS)
    stranger = await enter(client_of(app, runtime), runtime, Caller("stranger", uuid4(), frozenset({Role.ADMIN})))
    for part in ("", "/now", "/codes", "/reconciliation"):
        assert "Gold 1 g" not in await page(stranger, f"/console/batches/{batch.batch_id}{part}", 404)
    for show in ("alerts", "reports", "checks"):
        for asked in ("", f"&batch={batch.batch_id}", f"&batch={batch.uniq_code}"):
            for path in ("/console/verification", "/console/verification/now"):
                shown = await page(stranger, f"{path}?show={show}{asked}")
                assert "Gold 1 g" not in shown
                assert "SKA000002" not in shown
                assert "Glass" not in shown


async def test_an_operator_is_offered_nothing_that_only_a_manager_may_do(
    app: FastAPI, runtime: Runtime, client_of: ClientOf, plant: Plant
) -> None:
    batch = await plant.batch(5, requires_release=True)
    await recall_batch(plant.runtime.database, caller=plant.caller, batch_id=batch.batch_id, texts=TEXTS)
    worker = Caller("worker", plant.caller.organisation_id, frozenset({Role.OPERATOR}))
    operator = await enter(client_of(app, runtime), runtime, worker)
    for address in (
        f"/console/batches/{batch.batch_id}", f"/console/batches/{batch.batch_id}/codes", "/console/batches",
        f"/console/verification?batch={batch.batch_id}",
    ):  # fmt: skip
        shown = await page(operator, address)
        assert "data-path" not in shown
        assert "data-reveal" not in shown
        assert "/console/batches/import" not in shown
    await page(operator, "/console/batches/import", 403)


async def test_codes_are_filtered_by_the_address_and_paged(visitor: httpx2.AsyncClient, plant: Plant) -> None:
    batch = await plant.prepared(250, exclude=ska(3, 250), units_per_case=100)
    await plant.pack(batch)
    path = f"/console/batches/{batch.batch_id}/codes"
    first = await page(visitor, path)
    assert first.count("<tr data-code=") == 100
    assert "?after=100" in first
    second = await page(visitor, f"{path}?after=100")
    assert 'data-code="SKA000101"' in second
    assert 'data-code="SKA000100"' not in second
    excluded = await page(visitor, f"{path}?status=excluded")
    assert [f'data-code="{code}"' in excluded for code in ska(3, 250, 4)] == [True, True, False]
    some = await page(visitor, f"{path}?code=%20ska00001%20&status=packed")
    assert some.count("<tr data-code=") == 10
    assert f'href="/console/search?q={batch.master_codes[0]}"' in some
    scanned = await page(visitor, f"{path}?code=https://verify.example.com/q/{batch.uniq_code}/SKA000007")
    assert scanned.count("<tr data-code=") == 1
    assert "No code of this batch matches" in await page(visitor, f"{path}?code=ZZZ")
    for bad in ("after=-1", f"after={2**63}", f"code={'x' * 1001}"):
        assert (await visitor.get(f"{path}?{bad}")).status_code == 422


async def test_each_unit_is_shown_where_it_is(visitor: httpx2.AsyncClient, plant: Plant) -> None:
    batch = await plant.prepared(20, exclude=ska(12), units_per_case=10)
    await plant.pack(batch)
    shown = await page(visitor, f"/console/batches/{batch.batch_id}/codes")
    badges = re.findall(r'data-code="(\w+)".*?<span class="badge (\w*)">([^<]+)</span>', shown, re.DOTALL)
    places = {code: (tone, text) for code, tone, text in badges}
    assert {code: places[code] for code in ska(1, 12, 13)} == {
        "SKA000001": ("good", "packed"), "SKA000012": ("warn", "excluded"),
        "SKA000013": ("busy", "waiting in the queue"),
    }  # fmt: skip
    # The page of the unit and the search say the same.
    for address in ("/console/trace?code=SKA000012", "/console/search?q=SKA000012"):
        found = await visitor.get(address, follow_redirects=True)
        assert '<span class="badge warn">excluded</span>' in found.text


async def test_no_root_key_is_on_a_page_and_the_address_that_shows_them_is_traced(
    visitor: httpx2.AsyncClient, plant: Plant
) -> None:
    batch = await plant.batch(150)
    shown = await page(visitor, f"/console/batches/{batch.batch_id}/codes?after=100")
    address = shown.partition('data-reveal="')[2].partition('"')[0].replace("&amp;", "&")
    assert await plant.sql("SELECT 1 FROM trace_events WHERE action = 'keys.revealed'") == []
    person = {"Qrtrack-Person": f"{plant.caller.organisation_id}/{plant.caller.user_id}"}
    revealed = (await visitor.get(address, headers=person)).json()["codes"]
    assert [row["code"] for row in revealed] == ska(*range(101, 151))
    assert not any(row["root_key"] in shown for row in revealed)
    assert len(await plant.sql("SELECT 1 FROM trace_events WHERE action = 'keys.revealed'")) == 1


async def test_the_reconciliation_page_names_numbers_that_do_not_add_up(
    visitor: httpx2.AsyncClient, plant: Plant
) -> None:
    batch = await plant.prepared(20, exclude=ska(3), units_per_case=10)
    await plant.pack(batch)
    path = f"/console/batches/{batch.batch_id}/reconciliation"
    assert f'hx-get="{path}" hx-trigger="load"' in await page(visitor, f"/console/batches/{batch.batch_id}")
    good = await page(visitor, path)
    assert "Every code is accounted for." in good
    await plant.sql("DELETE FROM qr_prepared_codes WHERE sequence_number = 20")
    await plant.sql("DELETE FROM qr_codes WHERE sequence_number = 20")
    bad = await page(visitor, path)
    assert "Codes that do not add up: 1." in bad
    assert "SKA000020" in bad


async def test_records_of_all_batches_are_paged_and_those_of_one_are_found_by_its_code(
    visitor: httpx2.AsyncClient, plant: Plant
) -> None:
    first, second = await plant.batch(60), await plant.batch(5, product_name="Gold 5 g")
    await record(plant, second)
    await plant.sql(
        "INSERT INTO verification_alerts (manufacturer_org_id, batch_id, kind, sequence_number)"
        " SELECT :org, :batch, 'void', number FROM generate_series(1, 60) AS number",
        org=plant.caller.organisation_id, batch=first.batch_id,
    )  # fmt: skip
    newest = await page(visitor, "/console/verification")
    assert newest.count('class="card alert"') == 50
    assert "Gold 5 g" not in newest
    older = newest.partition("&amp;before=")[2].partition('"')[0]
    rest = await page(visitor, f"/console/verification?show=alerts&before={older}")
    assert rest.count('class="card alert"') == 10 + len(AlertKind)
    assert "hx-get" not in rest.partition('id="records"')[2].partition(">")[0]
    for asked in (second.batch_id, second.uniq_code, f"https://verify.example.com/q/{second.uniq_code}"):
        of_one = await page(visitor, f"/console/verification?batch={asked}")
        assert of_one.count('class="card alert"') == len(AlertKind)
    assert "No such batch" in await page(visitor, f"/console/verification?batch={uuid4()}")


async def test_an_alert_of_a_recall_that_was_lifted_needs_nobody(visitor: httpx2.AsyncClient, plant: Plant) -> None:
    """The alert stays in the list. It needs a person as long as a recall of any scope covers its unit."""
    batch = await plant.prepared(4, units_per_case=2)
    await plant.pack(batch)
    await plant.sql(
        "INSERT INTO verification_alerts (manufacturer_org_id, batch_id, kind, sequence_number)"
        " VALUES (:org, :batch, 'recalled', 2)", org=plant.caller.organisation_id, batch=batch.batch_id,
    )  # fmt: skip
    database, caller, texts = plant.runtime.database, plant.caller, catalogue("en")
    recalls = [
        await recall_batch(database, caller=caller, batch_id=batch.batch_id, texts=TEXTS),
        await recall_case(database, caller=caller, master_code=batch.master_codes[0], texts=TEXTS),
        await recall_codes(database, caller=caller, pasted=PastedCodes(ska(2)), texts=TEXTS),
    ]
    wanted = texts["wanted.verification_alerts"].partition("{")[0]
    for recall in recalls:
        assert texts["alert.recalled_todo"] in await page(visitor, "/console/verification")
        assert wanted in await page(visitor, "/console")
        await lift_recall(database, caller=caller, recall_id=recall.recall_id, reason="No glass found")
    shown = await page(visitor, "/console/verification")
    assert (texts["alert.recalled_todo"] in shown, texts["alert.recall_lifted"] in shown) == (False, True)
    assert wanted not in await page(visitor, "/console")


async def rows_read(repositories: Repositories) -> dict[str, int]:
    """How many rows of each table this connection has read, as far as it has not told the statistics yet."""
    found = await repositories.batches._session.execute(
        text("SELECT relname, seq_tup_read + COALESCE(idx_tup_fetch, 0) AS rows FROM pg_stat_xact_user_tables")
    )
    return {row.relname: row.rows for row in found}


async def test_the_newest_records_of_an_organisation_are_found_by_index(plant: Plant) -> None:
    stranger = Plant(plant.runtime, Caller("stranger", uuid4(), plant.caller.roles))
    for of, count in ((plant, 5000), (stranger, 5000)):
        batch = await of.batch(1)
        await plant.sql(
            "INSERT INTO verification_reports (manufacturer_org_id, batch_id, reason, network)"
            " SELECT :org, :batch, 'other', '\\x00' FROM generate_series(1, :count)",
            org=of.caller.organisation_id, batch=batch.batch_id, count=count,
        )  # fmt: skip
    await plant.sql("ANALYZE verification_reports")
    async with plant.runtime.database.read(tenant=plant.caller.organisation_id) as repositories:
        before = await rows_read(repositories)
        rows = await repositories.verification_records.list(
            "reports", organisation_id=plant.caller.organisation_id, batch_id=None, before=None, limit=51
        )
        after = await rows_read(repositories)
    table = "verification_reports"
    assert (len(rows), after[table] - before.get(table, 0)) == (51, 51)


async def test_a_new_batch_names_its_next_steps_until_units_are_prepared(
    visitor: httpx2.AsyncClient, plant: Plant
) -> None:
    batch = await plant.batch(5)
    assert "List damaged units and pack" in await page(visitor, f"/console/batches/{batch.batch_id}")
    await plant.submit(batch)
    assert "List damaged units and pack" not in await page(visitor, f"/console/batches/{batch.batch_id}")


async def test_the_list_of_batches_is_filtered_by_name_and_state(visitor: httpx2.AsyncClient, plant: Plant) -> None:
    await plant.batch(5)
    closed = await plant.batch(5, product_name="Gold 5 g")
    await close_batch(plant.runtime.database, caller=plant.caller, batch_id=closed.batch_id, reason="Done")
    for asked, names in (
        ("", (True, True)), ("?state=open", (True, False)), ("?state=closed", (False, True)),
        ("?name=5+G", (False, True)), ("?name=5+G&state=open", (False, False)),
    ):  # fmt: skip
        shown = await page(visitor, f"/console/batches{asked}")
        assert (">Gold 1 g<" in shown, ">Gold 5 g<" in shown) == names


async def test_the_list_of_batches_reads_neither_codes_nor_queues(plant: Plant) -> None:
    batch = await plant.prepared(300)
    await plant.pack(batch)
    async with plant.runtime.database.read(tenant=plant.caller.organisation_id) as repositories:
        before = await rows_read(repositories)
        [listed] = await repositories.batch_lists.list(BatchSelection(), before=None, limit=9)
        after = await rows_read(repositories)
    assert listed.packed_count == 100
    assert {table for table, rows in after.items() if rows > before.get(table, 0)} <= {"qr_batches", "qr_master_codes"}


async def test_a_large_batch_is_counted_only_on_request(visitor: httpx2.AsyncClient, plant: Plant) -> None:
    ordered = await plant.order(100_001)
    shown = await page(visitor, f"/console/batches/{ordered.batch_id}")
    assert "Counting 100,001 codes takes some seconds" in shown
    assert 'hx-trigger="load"' not in shown
