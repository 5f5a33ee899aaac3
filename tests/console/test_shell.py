"""The frame of every page, the search, the trace and the wall, in a real browser against a real server."""

import asyncio
from pathlib import Path
from typing import Final

import pytest_asyncio
from playwright.async_api import Page, Route, expect

from console.conftest import OpenPage
from console.station import API, Factory, MortalServer, Station, first
from qrtrack.domain.identity import Role

PHONE: Final = {"viewport": {"width": 360, "height": 740}, "has_touch": True}
PACK: Final = f"{API}/link-to-master-from-queue"


@pytest_asyncio.fixture(loop_scope="session")
async def phone(open_page: OpenPage, factory: Factory) -> Station:
    station = Station(await open_page(**PHONE), factory)
    await station.sign_in()
    return station


async def is_scrolled_sideways(page: Page) -> bool:
    return bool(await page.evaluate("document.documentElement.scrollWidth > innerWidth"))


async def test_on_a_phone_every_page_is_reached_by_touch(phone: Station) -> None:
    page = phone.page
    await phone.factory.batch()
    links = page.locator("nav.pages > a:visible")
    await expect(links).to_have_count(3)
    further = await page.locator(".more a").all_text_contents()
    assert further
    for name in further:
        await page.locator(".more summary").tap()
        await page.locator(".more a", has_text=name).tap()
        await expect(page.locator(".more summary")).to_have_class("here")
        await expect(page.locator(".more")).not_to_have_attribute("open", "")
    await page.wait_for_load_state("load")  # Before its style sheet, a page shows more links.
    await expect(links).to_have_count(3)
    for target in await page.locator("nav.pages > a:visible, .more summary, .who summary, #search").all():
        box = await target.bounding_box()
        assert box is not None
        assert box["height"] >= 44
    for path in ("/console", "/console?wall=1", "/console/search?q=gold", "/console/trace?code=SKA000001"):
        await page.goto(phone.factory.address + path)
        assert not await is_scrolled_sideways(page), path


async def test_on_a_phone_the_menus_work_by_keyboard(phone: Station) -> None:
    page = phone.page
    more, jobs = page.locator(".more summary"), page.locator(".more a", has_text="Jobs")
    await more.focus()
    await page.keyboard.press("Enter")
    await expect(jobs).to_be_visible()
    await page.keyboard.press("Tab")
    await page.keyboard.press("Escape")
    await expect(jobs).to_be_hidden()
    await expect(more).to_be_focused()
    await page.keyboard.press("Space")
    await expect(jobs).to_be_visible()
    await page.locator("#search").focus()
    await expect(jobs).to_be_hidden()


async def test_on_a_phone_station_language_and_sign_out_are_reached(phone: Station) -> None:
    page = phone.page
    await page.goto(f"{phone.factory.address}/console/jobs?status=failed")
    await page.locator(".who summary").tap()
    await page.fill("#station", "Line 9")
    await page.locator(".who .field button").tap()
    await page.wait_for_url("**/console/jobs?status=failed")
    await page.locator(".who summary").tap()
    await expect(page.locator("#station")).to_have_value("Line 9")
    await page.locator(".who").get_by_text("Bahasa Indonesia").tap()
    await expect(page.locator("h1")).to_have_text("Pekerjaan")
    await page.wait_for_url("**/console/jobs?status=failed")
    await page.locator(".who summary").tap()
    await page.locator(".who").get_by_role("button", name="Keluar").tap()
    await page.wait_for_url("**/console/sign-in?signed_out=1")
    await expect(page.locator(".notice[role=status]")).to_have_text("Anda sudah keluar.")


async def test_no_refresh_comes_between_a_sign_out_and_its_answer(station: Station) -> None:
    """It would lead to the sign-in page that says that the session has ended."""
    page = station.page

    async def answer_late(route: Route) -> None:
        answer = await route.fetch(max_redirects=0)
        # One round may have begun before the sign-out.
        for _ in range(10):
            await page.wait_for_event("requestfinished", lambda request: request.url.endswith("/healthz"))
        await route.fulfill(response=answer)

    await page.goto(f"{station.factory.address}/console/jobs")
    await page.route("**/console/sign-out", answer_late)
    await page.evaluate(
        "addEventListener('submit', () => setInterval(() => {"
        " document.dispatchEvent(new Event('visibilitychange')); fetch('/healthz'); }, 50))"
    )
    await page.locator(".who summary").click()
    await page.get_by_role("button", name="Sign out").click()
    await page.wait_for_url("**/console/sign-in?signed_out=1")


async def test_a_refresh_that_is_answered_after_the_sign_out_leads_nowhere(station: Station) -> None:
    page, held = station.page, list[Route]()

    async def hold_refresh(route: Route) -> None:
        if "hx-request" in route.request.headers:
            held.append(route)
        else:
            await route.continue_()

    async def answer_refresh_first(route: Route) -> None:
        answer = await route.fetch(max_redirects=0)
        await held[0].continue_()
        # Time for the page to follow the answer: there is no event for what must not happen.
        await asyncio.sleep(1)
        await route.fulfill(response=answer)

    await page.goto(f"{station.factory.address}/console/jobs")
    await page.route("**/console/jobs**", hold_refresh)
    await page.route("**/console/sign-out", answer_refresh_first)
    await first(held)
    await page.locator(".who summary").click()
    await page.get_by_role("button", name="Sign out").click()
    await page.wait_for_url("**/console/sign-in?signed_out=1")


async def test_the_skip_link_leads_past_header_and_navigation(station: Station) -> None:
    await station.page.keyboard.press("Tab")
    await expect(station.page.locator(".skip")).to_be_focused()
    await station.page.keyboard.press("Enter")
    await expect(station.page.locator("#main")).to_be_focused()


async def test_a_scan_in_the_search_leads_to_the_unit_and_the_next_scan_replaces_it(station: Station) -> None:
    page, factory = station.page, station.factory
    batch = await factory.batch()
    await page.locator("#search").focus()
    await station.scan(f"]Q1https://verify.example.com/q/{batch.uniq_code}/SKA000004")
    await expect(page.locator("h1")).to_have_text("SKA000004")
    await expect(page.locator("#search")).to_be_focused()
    await station.scan("nothing of ours")
    await expect(page.locator("main .empty h2")).to_have_text("Nothing was found")


async def test_a_scanner_that_ends_with_tab_searches_but_a_person_who_tabs_out_does_not(station: Station) -> None:
    page, factory = station.page, station.factory
    batch = await factory.batch()
    await page.clock.install(time=0)
    await page.goto(f"{factory.address}/console/search")
    await expect(page.locator("#search")).to_be_focused()
    await page.clock.pause_at(1_000_000)
    await page.keyboard.type(batch.master_code(2))
    await page.keyboard.press("Tab")
    await expect(page.locator("h1")).to_have_text(batch.master_code(2))
    await expect(page.locator("#search")).to_be_focused()
    for character in "SKA000001":
        await page.keyboard.type(character)
        await page.clock.run_for(150)
    await page.keyboard.press("Tab")
    await expect(page.locator("#search")).not_to_be_focused()
    await expect(page.locator("#search")).to_have_value("SKA000001")
    await expect(page.locator("h1")).to_have_text(batch.master_code(2))


async def test_a_manager_undoes_an_old_case_on_its_page_with_a_reason(station: Station) -> None:
    page, factory = station.page, station.factory
    batch = await factory.batch()
    await pack(factory, batch.batch_id, batch.order_id, batch.master_code(1))
    await page.goto(f"{factory.address}/console/trace?code={batch.master_code(1)}")
    await page.click("[data-opens=undo]")
    await page.fill("#undo [name=reason]", "Box dropped")
    await page.click("#undo .danger")
    await expect(page.locator(".trace li").last).to_contain_text("Taken out of the case")
    await expect(page.locator(".trace q")).to_have_text("Box dropped")
    await expect(page.locator("main > [data-said]")).to_have_text("The case is undone.")
    await expect(page.locator("[data-opens=undo]")).to_have_count(0)


async def pack(factory: Factory, batch_id: str, order_id: str, master_code: str) -> None:
    scan = {"batch_id": batch_id, "order_id": order_id, "master_code": master_code, "station": "Line 3"}
    async with factory.client() as client:
        assert (await client.post(PACK, json=scan)).is_success


async def test_a_press_that_waits_is_seen_on_every_page_and_leads_back(station: Station) -> None:
    page = station.page
    batch = await station.factory.batch()
    await station.open(batch)
    await page.route("**/link-to-master-from-queue", lambda route: route.abort())
    await station.scan(batch.master_code(1))
    await station.expect_verdict("warn", "Waiting for the server")
    await page.goto(f"{station.factory.address}/console/batches")
    await expect(page.locator("#waiting-press")).to_contain_text("1 action waits")
    await page.unroute_all()
    await page.click("#waiting-press a")
    await station.expect_verdict("good", "Case 1 packed")


async def test_the_wall_follows_the_line_also_when_the_server_restarts(
    page: Page, complaints: list[str], mortal: MortalServer, migrated_url: str, tmp_path: Path
) -> None:
    factory = Factory(mortal.address, tmp_path, migrated_url)
    await Station(page, factory).sign_in(Role.OPERATOR)
    batch = await factory.batch()
    await page.goto(f"{factory.address}/console?wall=1")
    await expect(page.locator(".empty").first).to_have_text("No case was packed today.")
    await pack(factory, batch.batch_id, batch.order_id, batch.master_code(1))
    await expect(page.locator(".total")).to_have_text("1 case")
    mortal.kill()
    await expect(page.locator("#stale")).to_be_visible()
    await expect(page.locator(".total")).to_have_text("1 case")
    mortal.start()
    await pack(factory, batch.batch_id, batch.order_id, batch.master_code(2))
    await expect(page.locator(".total")).to_have_text("2 cases")
    await expect(page.locator("#stale")).to_be_hidden()
    await page.goto("about:blank")
    complaints[:] = [complaint for complaint in complaints if not complaint.startswith("htmx:")]
