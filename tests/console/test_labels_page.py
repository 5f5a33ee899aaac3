"""The labels of a batch in a browser: from the picture of a sheet to a file whose symbols scan, and to the printer."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest_asyncio
from playwright.async_api import Page, Route, expect

from console.station import API, Batch, Factory, Station
from printed_labels import payloads_of, symbols_of
from printer import StandIn
from process import SECRET
from qrtrack.domain.identity import Role
from qrtrack.integrations.tokens import sign_token

# The page refreshes its parts every 3 s.
QUICK_TICKS = "const every = setInterval; window.setInterval = (act, time) => every(act, time / 15);"
SETTINGS = {"PRINTER_NETWORKS": "127.0.0.0/8"}


async def signed_in(page: Page, factory: Factory, role: Role) -> Station:
    """By a token, which is quicker than a link."""
    token = sign_token(SECRET, organisation_id=UUID(factory.organisation), user_id=factory.user, roles=[role], hours=1)
    await page.add_init_script(QUICK_TICKS)
    origin = {"Origin": factory.address}
    answer = await page.request.post(f"{factory.address}/console/sign-in", form={"token": token}, headers=origin)
    assert answer.ok
    return Station(page, factory)


@pytest_asyncio.fixture(loop_scope="session")
async def manager(page: Page, factory: Factory) -> Station:
    return await signed_in(page, factory, Role.MANAGER)


@pytest_asyncio.fixture(loop_scope="session")
async def printer() -> AsyncIterator[StandIn]:
    async with StandIn().on() as printer:
        yield printer


async def opened(station: Station, **asked: int) -> Batch:
    """The labels page of a new batch, which has counted what it would print."""
    batch = await station.factory.batch(exclude=None, **asked)
    await labels(station, batch)
    return batch


async def labels(station: Station, batch: Batch) -> None:
    await station.page.goto(f"{station.factory.address}/console/batches/{batch.batch_id}/labels")


async def choose(page: Page, name: str, value: str) -> None:
    """As a finger does: the input lies over its picture."""
    await page.locator(f"#labels [name={name}][value={value}]").click()


async def made(page: Page) -> None:
    await page.click("#labels button.primary")
    await page.wait_for_url("**/labels?made=*")
    await expect(page.locator("#jobs .job").first.locator(".badge").first).to_have_text("completed")


async def fetched(page: Page) -> bytes:
    async with page.expect_download() as coming:
        await page.locator("#jobs .job").first.get_by_role("link", name="Download").click()
    return Path(await (await coming.value).path()).read_bytes()


async def test_from_the_picture_of_a_sheet_to_symbols_that_scan(manager: Station) -> None:
    page = manager.page
    batch = await opened(manager, quantity=40)
    await expect(page.locator("#will")).to_have_text(
        "Labels: 40. Sheets: 1. Left on the last sheet: 25, from label 41 on."
    )
    await choose(page, "preset", "a4-24")
    await expect(page.locator("#sheet [data-place]")).to_have_count(24)
    await page.locator("#sheet [data-place='23']").click()
    await page.fill("[name=first_code]", "ska000003")
    await page.fill("[name=last_code]", "SKA000006")
    await expect(page.locator("#will")).to_have_text(
        "Labels: 4. Sheets: 2. Left on the last sheet: 22, from label 3 on."
    )
    await expect(page.locator("#sheet .gone")).to_have_count(22)
    await expect(page.locator("#sheet .filled")).to_have_count(2)
    await made(page)
    await expect(page.locator("#jobs .job").first).to_contain_text("SKA000003 – SKA000006")
    file = await fetched(page)
    assert [sheet for sheet, _ in symbols_of(file)] == [0, 0, 1, 1]
    codes = [payload.rpartition("/")[2] for payload in payloads_of(file)]
    assert codes == ["SKA000003", "SKA000004", "SKA000005", "SKA000006"]
    assert all(f"/Q/{batch.uniq_code}/" in payload.upper() for payload in payloads_of(file))


async def test_units_that_were_printed_before_need_a_reason(manager: Station) -> None:
    page = manager.page
    batch = await opened(manager, quantity=10)
    await page.fill("[name=last_code]", "SKA000004")
    await made(page)
    await labels(manager, batch)
    asking = page.locator("#labels [data-reprint]")
    await expect(asking).to_contain_text("Printed before: 4")
    await expect(asking.locator("li")).to_have_text(["SKA000001 – SKA000004"])
    await page.fill("[name=first_code]", "SKA000005")
    await expect(asking).to_be_hidden()
    await expect(page.locator("#will")).to_contain_text("Labels: 6.")
    await page.fill("[name=first_code]", "SKA000004")
    await expect(asking.locator("li")).to_have_text(["SKA000004"])
    await page.click("#labels button.primary")
    assert "made=" not in page.url, "the browser asks for the reason"
    await asking.locator("[name=reason]").fill("Sheet jammed")
    await made(page)
    await expect(page.locator("#jobs .job").first).to_contain_text("Printed again: Sheet jammed")


async def test_units_of_a_file_that_is_being_made_are_counted_again_when_it_is_finished(manager: Station) -> None:
    """Also those of the file that was just requested: no error, and no reload."""
    page = manager.page
    batch = await opened(manager, quantity=10)
    is_finished = False

    async def answer(route: Route) -> None:
        if is_finished:
            await route.continue_()
        else:
            await route.fulfill(status=409, json={"type": "urn:qrtrack:problem:labels-reserved", "detail": "…"})

    await page.route(f"**{API}/batches/{batch.batch_id}/labels", answer)
    await labels(manager, batch)
    will = page.locator("#will")
    await expect(will).to_contain_text("A label file with some of these units is being made: see “Label files”.")
    await expect(will).to_have_class("notice warn")
    is_finished = True
    await expect(will).to_contain_text("Labels: 10.")


async def test_a_refusal_says_what_would_do_in_the_language_of_the_person(manager: Station) -> None:
    page = manager.page
    async with manager.factory.client() as client:
        tiny = {"kind": "roll", "width": 25, "height": 10}
        assert (await client.put(f"{API}/label-formats/tiny", json=tiny)).is_success
    batch = await opened(manager, quantity=10)
    await choose(page, "preset", "tiny")
    will = page.locator("#will")
    await expect(will).to_have_class("notice bad")
    await expect(will).to_contain_text("or one of these: a4-65, a4-40, a4-24")
    await page.context.add_cookies([{"name": "qrtrack_language", "value": "id", "url": manager.factory.address}])
    await labels(manager, batch)
    await expect(will).to_contain_text("Label ini terlalu kecil untuk simbol dan teksnya")
    await choose(page, "preset", "a4-65")
    await page.fill("[name=first_code]", "SKA000099")
    await expect(will).to_have_text("SKA000099 bukan kode dari batch ini. Perbaiki, atau kosongkan kolomnya.")


async def test_cases_and_label_printers_have_their_own_choices(manager: Station) -> None:
    page = manager.page
    await opened(manager, quantity=40, units_per_case=10)
    await choose(page, "format", "zpl")
    await expect(page.locator("[name=preset][value=roll-50x30]")).to_be_checked()
    await expect(page.locator("[name=preset][value=a4-65]")).to_be_hidden()
    await expect(page.locator("#sheet")).to_be_hidden()
    await choose(page, "what", "cases")
    await expect(page.locator("[name=preset][value=roll-100x150]")).to_be_checked()
    await expect(page.locator("[name=with_root_key]")).to_be_hidden()
    await page.fill("[name=first_case]", "2")
    await page.select_option("[name=dpi]", "300")
    await expect(page.locator("#will")).to_have_text("Labels: 3.")
    await made(page)
    zpl = (await fetched(page)).decode()
    assert zpl.count("^XA") == 3
    assert "^PW1181" in zpl, "100 mm at 300 dpi"


async def test_the_correction_of_the_printer_is_remembered_and_sent(manager: Station) -> None:
    page = manager.page
    batch = await opened(manager, quantity=10)
    await page.click("details.correction summary")
    await expect(page.locator("[data-link*=calibration]")).to_have_attribute(
        "href", f"{API}/label-formats/a4-65/calibration.pdf"
    )
    await page.fill("[name='calibration.dx']", "1.5")
    await page.fill("[data-ruler=x]", "99")
    await page.keyboard.press("Tab")
    said = "1.5 mm right, 0 mm down, 101 % across, 100 % down"
    await expect(page.locator("#correction-said")).to_have_text(said)
    await labels(manager, batch)
    await expect(page.locator("#correction-said")).to_have_text(said)
    async with page.expect_request(f"**{API}/batches/*/labels") as sent:
        await page.fill("[name=last_code]", "SKA000003")
    body = json.loads((await sent.value).post_data or "")
    assert body["calibration"] == {"dx": 1.5, "scale_x": 1.0101}
    await page.click("details.correction summary")
    await page.click("#forget-correction")
    await expect(page.locator("#correction-said")).to_have_text("none")


async def test_the_paper_that_was_chosen_is_chosen_again(manager: Station) -> None:
    page = manager.page
    batch = await opened(manager, quantity=10)
    await choose(page, "preset", "a4-24")
    await labels(manager, batch)
    await expect(page.locator("[name=preset]:checked")).to_have_value("a4-24")
    await expect(page.locator("#sheet [data-place]")).to_have_count(24)
    await choose(page, "format", "zpl")
    await page.select_option("[name=dpi]", "300")
    roll = await page.locator("[name=preset]:checked").input_value()
    await labels(manager, batch)
    await expect(page.locator("[name=format]:checked")).to_have_value("zpl")
    await expect(page.locator("[name=dpi]")).to_have_value("300")
    await expect(page.locator("[name=preset]:checked")).to_have_value(roll)
    await choose(page, "format", "pdf")
    await expect(page.locator("[name=preset]:checked")).to_have_value("a4-24")


async def test_a_file_is_printed_once_and_again_with_a_reason(manager: Station, printer: StandIn) -> None:
    page = manager.page
    async with manager.factory.client() as client:
        new = {"name": "Line 1", "address": printer.address, "dpi": 203}
        assert (await client.post(f"{API}/printers", json=new)).is_success
    await opened(manager, quantity=3)
    await choose(page, "format", "zpl")
    await made(page)
    job, dialog = page.locator("#jobs .job").first, page.locator("#print-zpl-203")
    await job.get_by_role("button", name="Print").click()
    await dialog.get_by_role("button", name="Print").click()
    await page.wait_for_url("**/labels?sent=*")
    await expect(job.locator(".print .badge")).to_have_text("completed")
    assert printer.labels[0].count(b"^XA") == 3
    await job.get_by_role("button", name="Print").click()
    await dialog.get_by_role("button", name="Print").click()
    await expect(dialog.locator("[data-reprint] li")).to_have_text(["SKA000001 – SKA000003"])
    printer.breaks_after = 20
    await dialog.locator("[name=reason]").fill("Roll torn")
    await dialog.get_by_role("button", name="Print").click()
    await expect(job.locator(".print .badge").first).to_have_text("unknown")
    await expect(job).to_contain_text("Look at the printer whether it was printed.")


async def test_an_operator_fetches_and_prints_the_label_of_one_case(
    page: Page, factory: Factory, printer: StandIn
) -> None:
    operator = await signed_in(page, factory, Role.OPERATOR)
    async with factory.client() as client:
        assert (await client.post(f"{API}/printers", json={"name": "Line 1", "address": printer.address})).is_success
    batch = await opened(operator, quantity=40, units_per_case=10)
    await expect(page.locator("#labels")).to_have_count(0)
    await expect(page.get_by_role("link", name="Exports")).to_have_count(0)
    link = page.locator("#case a.button")
    await page.fill("[name=case_number]", "9")
    await expect(link).not_to_have_attribute("href", re.compile("."))
    await page.fill("[name=case_number]", "2")
    async with page.expect_download() as coming:
        await link.click()
    assert payloads_of(Path(await (await coming.value).path()).read_bytes()) == [batch.master_code(2)]
    await page.click("#case button.primary")
    await page.wait_for_url("**/labels?printed=*")
    await expect(page.locator("#case .print .badge")).to_have_text("completed")
    assert batch.master_code(2).encode() in printer.labels[0]


async def test_root_keys_are_fetched_only_after_a_question(manager: Station) -> None:
    page = manager.page
    batch = await manager.factory.batch(quantity=3, exclude=None)
    await page.goto(f"{manager.factory.address}/console/batches/{batch.batch_id}/exports")
    asking = page.locator("form[data-sure] button", has_text="CSV with ,")
    await asking.click()
    await expect(page.locator("#sure-question")).to_contain_text("Take the root keys of all units of this batch?")
    await page.click("#sure button[value='']")
    await asking.click()
    async with page.expect_download() as coming:
        await page.click("#sure button[value=yes]")
    download = await coming.value
    assert download.suggested_filename == f"codes-with-root-keys-Gold-1-g-{batch.uniq_code}.csv"
    assert "root_key" in Path(await download.path()).read_text("utf-8-sig").splitlines()[0]
