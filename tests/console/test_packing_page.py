"""The packing page in a real browser, against a real server: an operator's day."""

from dataclasses import replace
from math import ceil
from pathlib import Path

from playwright.async_api import APIResponse, Page, Route, expect

from console.station import API, PERSON_MILLISECONDS, Factory, MortalServer, Station


async def order(station: Station, units_per_case: int) -> str:
    """Orders 35 codes on the page of the batches. Returns the id of the batch, whose page is open afterwards."""
    page = station.page
    await page.goto(f"{station.factory.address}/console/batches")
    await page.click("[data-opens=order]")
    await page.fill("[name=product_name]", "Gold 1 g")
    await page.fill("[name=order_id]", "01939c3e-7d2f-7c44-9a53-0c8f2b1f6a10")
    await page.fill("[name=quantity]", "35")
    await page.fill("[name=units_per_case]", str(units_per_case))
    await page.fill("[name=serial_prefix]", "ska")
    await expect(page.locator("#order-makes")).to_have_text(
        f"Makes 35 codes that begin with SKA, in {ceil(35 / units_per_case)} cases; the last case holds 5."
    )
    await page.click("#order-form .primary")
    await page.wait_for_url("**/console/batches/*-*")
    return page.url.rpartition("/")[2]


async def test_a_batch_is_ordered_prepared_and_packed_by_scans(station: Station) -> None:
    page = station.page
    await station.factory.until_codes_exist(await order(station, units_per_case=10))
    await page.get_by_role("link", name="Pack", exact=True).click()
    await page.fill("#exclude-codes", "SKA000003 SKA999999")
    await expect(page.locator("#marks .bad")).to_have_text("SKA999999")
    await expect(page.locator("#submit-job")).to_be_disabled()
    await page.fill("#exclude-codes", "SKA000003")
    await expect(page.locator("#exclude-said")).to_have_text("1 unit is excluded. 34 will be prepared.")
    await page.click("#submit-job")
    await expect(page.locator("#waiting")).to_have_text("34")
    uniq_code = (await page.evaluate("fetch('/api/manufacturer/batches').then(a => a.json())"))["batches"][0][
        "uniq_code"
    ]
    for number in (1, 2, 3):
        await station.scan(f"{uniq_code}-C000{number}")
        await station.expect_verdict("good", f"Case {number} packed")
    await expect(page.locator("#waiting")).to_have_text("4")
    await expect(page.locator("#recent tbody tr")).to_have_count(3)


async def test_packing_without_a_scan_says_what_to_scan_and_puts_the_focus_there(station: Station) -> None:
    page = station.page
    batch = await station.factory.batch()
    await station.open(batch)
    await page.click("#go")
    await station.expect_verdict("idle", "Scan the case")
    await expect(page.locator("#master")).to_be_focused()
    await page.check("#checked")
    await page.click("#go")
    await station.expect_verdict("idle", "Scan the first unit")
    await expect(page.locator("#first")).to_be_focused()
    await page.uncheck("#checked")
    await station.scan(batch.master_code(1))
    await station.expect_verdict("good", "Case 1 packed")
    # A scanner that ends with CR and LF sends an empty Enter too.
    await page.locator("#master").focus()
    await page.keyboard.press("Enter")
    await station.expect_verdict("good", "Case 1 packed")
    await page.check("#each")
    await expect(page.locator("#each-part")).to_be_visible()
    await station.scan("SKA000011")
    await page.click("#go")
    await station.expect_verdict("idle", "Scan the case")
    await expect(page.locator("#master")).to_be_focused()


async def test_a_double_scan_locks_the_line_until_it_is_acknowledged(station: Station) -> None:
    batch = await station.factory.batch()
    await station.open(batch)
    await station.scan(batch.master_code(1))
    await station.expect_verdict("good", "Case 1 packed")
    await station.scan(batch.master_code(1))
    await station.expect_verdict("bad", "Case 1 is already packed")
    # A scan acknowledges nothing: nobody has looked.
    await station.scan(batch.master_code(2))
    await expect(station.page.locator("#not-taken")).to_have_text(
        f"Not taken: {batch.master_code(2)}. Press Space, Enter or the button first."
    )
    await station.expect_verdict("bad", "Case 1 is already packed")
    await station.page.wait_for_timeout(PERSON_MILLISECONDS)
    await station.page.keyboard.press("Enter")
    await station.expect_verdict("idle", "Scan a case")
    await expect(station.page.locator("#not-taken")).to_be_empty()
    assert len(await station.factory.packs(batch)) == 1
    await station.scan(batch.master_code(2))
    await station.expect_verdict("good", "Case 2 packed")


async def test_a_drift_names_the_units_in_question_and_one_press_solves_it(station: Station) -> None:
    batch = await station.factory.batch(units_per_case=3)
    await station.open(batch)
    await station.page.check("#checked")
    await station.scan(batch.master_code(1), "SKA000001", "SKA000004")
    await station.expect_verdict("bad", "The box does not match")
    await station.page.click("text=SKA000002 is missing")
    await station.expect_verdict("good", "Case 1 packed")
    await expect(station.page.locator("#verdict-text")).to_contain_text("3 units, SKA000001 – SKA000004, verified")


async def test_a_box_with_an_excluded_unit_asks_to_take_it_out(station: Station) -> None:
    """It is in the box, so nothing is missing, and no button may say so."""
    batch = await station.factory.batch(units_per_case=3, exclude=["SKA000002"])
    await station.open(batch)
    await station.page.check("#checked")
    await station.scan(batch.master_code(1), "SKA000001", "SKA000003")
    await station.expect_verdict("bad", "The box does not match")
    text = station.page.locator("#verdict-text")
    await expect(text).to_contain_text("is in the box and may not be packed: SKA000002. Take it out")
    await expect(station.page.locator("#verdict button:visible")).to_have_text(["Understood"])
    await station.page.wait_for_timeout(PERSON_MILLISECONDS)
    await station.page.keyboard.press("Enter")
    await station.scan(batch.master_code(1), "SKA000001", "SKA000004")
    await station.expect_verdict("good", "Case 1 packed")


async def test_a_scan_that_came_during_a_question_is_forgotten_with_it(station: Station) -> None:
    """Whoever answers the question has read that the scan was not taken. The good answer does not contradict it."""
    batch = await station.factory.batch()
    await station.open(batch)
    await station.page.check("#checked")
    await station.scan(batch.master_code(1), "SKA000001", "SKA000011")
    await station.expect_verdict("bad", "The box does not match")
    await station.scan("SKA000005")
    await expect(station.page.locator("#not-taken")).to_contain_text("Not taken: SKA000005.")
    await station.page.click("text=SKA000005 is missing")
    await station.expect_verdict("good", "Case 1 packed")
    await expect(station.page.locator("#not-taken")).to_be_empty()


async def test_a_first_unit_that_does_not_wait_is_named_with_where_it_is(station: Station) -> None:
    batch = await station.factory.batch()
    await station.open(batch)
    await station.scan(batch.master_code(1))
    await station.expect_verdict("good", "Case 1 packed")
    await station.page.check("#checked")
    await station.scan(batch.master_code(2), "SKA000010", "SKA000020")
    await station.expect_verdict("bad", "The first unit is not prepared")
    await expect(station.page.locator("#verdict-text")).to_contain_text("SKA000010: packed already.")


async def test_the_page_says_what_comes_next_when_there_is_nothing_to_pack(station: Station) -> None:
    page = station.page
    batch = await station.factory.batch(quantity=5, units_per_case=5, exclude=None)
    await station.open(batch)
    await station.expect_verdict("idle", "No unit waits for a case")
    await page.check("#each")
    await station.expect_verdict("idle", "Scan the first unit")
    await page.uncheck("#each")
    await station.expect_verdict("idle", "No unit waits for a case")
    await page.click("#submit-job")
    await expect(page.locator("#sure-question")).to_have_text("No damaged unit is listed. Prepare all 5 units?")
    await page.click("#sure [value='']")
    await page.click("#submit-job")
    await page.click("#sure [value=yes]")
    await station.expect_verdict("idle", "Scan a case")
    await page.click("#submit-job")
    await expect(page.locator("#exclude-said")).to_have_text("This batch has no unit that is still to be prepared.")
    await station.scan(batch.master_code(1))
    await station.expect_verdict("good", "Case 1 packed")
    await page.reload()
    await station.expect_verdict("idle", "No unit waits for a case")


async def test_a_case_takes_the_units_that_were_scanned_one_by_one(station: Station) -> None:
    """Nothing is prepared. A unit that cannot go into the case is marked; a press takes it out of the list."""
    page = station.page
    batch = await station.factory.batch(units_per_case=3, exclude=None)
    other = await station.factory.batch(units_per_case=3, exclude=None)
    await station.open(batch)
    await page.check("#each")
    await expect(page.locator("#each-part")).to_be_visible()
    await station.scan("SKA000005", "SKA000002", "SKA999999", "SKA000002")
    await expect(page.locator("#not-taken")).to_have_text("SKA000002 is in the list already.")
    await expect(page.locator("#units button")).to_have_text(["SKA000005", "SKA000002", "SKA999999"])
    await page.reload()
    await expect(page.locator("#units button")).to_have_count(3)
    await station.scan(other.master_code(1))
    await station.expect_verdict("bad", "This case belongs to another batch")
    await page.click("#choices button")
    await station.scan(batch.master_code(1))
    await station.expect_verdict("bad", "Some units cannot go into this case")
    await page.click("#choices button")
    await page.click("#units button:has-text('SKA999999 · unknown')")
    await station.scan(batch.master_code(1))
    await station.expect_verdict("good", "Case 1 packed")
    await expect(page.locator("#verdict-text")).to_contain_text("2 units were scanned into it. It holds 2 of 3.")
    await expect(page.locator("#units button")).to_have_count(0)


async def test_an_undone_case_returns_its_units_to_the_queue(station: Station) -> None:
    batch = await station.factory.batch()
    await station.open(batch)
    await station.scan(batch.master_code(1))
    await station.expect_verdict("good", "Case 1 packed")
    await station.page.click("[data-undo]")
    await station.page.fill("#undo-reason", "Box dropped")
    await station.page.click("#undo-go")
    await station.expect_verdict("good", "Case 1 is undone")
    await expect(station.page.locator("#waiting")).to_have_text("40")


async def test_a_change_that_came_too_late_is_refused_in_the_language_of_the_person(station: Station) -> None:
    """Two people undo one case on its page."""
    page, factory = station.page, station.factory
    batch = await factory.batch()
    await station.open(batch)
    await station.scan(batch.master_code(1))
    await station.expect_verdict("good", "Case 1 packed")
    await page.context.add_cookies([{"name": "qrtrack_language", "value": "id", "url": factory.address}])
    await page.goto(f"{factory.address}/console/trace?code={batch.master_code(1)}")
    await page.click("[data-opens=undo]")
    await page.fill("#undo [name=reason]", "Kotak jatuh")
    async with factory.client() as client:
        undo = {"master_code": batch.master_code(1), "reason": "Box dropped"}
        assert (await client.post("/api/manufacturer/unlink-from-master", json=undo)).is_success
    await page.click("#undo .danger")
    await expect(page.locator("#undo [data-said]")).to_have_text(
        "Kartonnya kosong, jadi ini tidak dapat dilakukan. Muat ulang halaman."
    )


async def test_the_right_case_takes_what_was_scanned_as_another_one(station: Station) -> None:
    batch = await station.factory.batch()
    await station.open(batch)
    await station.scan(batch.master_code(1))
    await station.expect_verdict("good", "Case 1 packed")
    await station.page.click("[data-move]")
    # A second mistake says where the units still are, and not to go on with the next case.
    await station.page.fill("#move-to", batch.master_code(1)[:-1] + "9")
    await station.page.keyboard.press("Enter")
    await station.expect_verdict("bad", "This is no case of yours")
    await expect(station.page.locator("#verdict-text")).to_contain_text("press “Wrong case?” there again")
    await station.page.click("text=Understood")
    await station.page.click("[data-move]")
    await station.page.fill("#move-to", batch.master_code(3))
    await station.page.keyboard.press("Enter")
    await station.expect_verdict("good", "Moved to case 3")
    # What was moved can be corrected again, in the case that has the units now.
    await expect(station.page.locator("#recent tbody .badge")).to_have_text("moved to case 3")
    await station.page.click("[data-undo]")
    await expect(station.page.locator("#undo-title")).to_have_text("Undo case 3?")
    await station.page.fill("#undo-reason", "Box torn")
    await station.page.click("#undo-go")
    await station.expect_verdict("good", "Case 3 is undone")
    await expect(station.page.locator("#recent tbody .badge")).to_have_text("undone")


async def test_the_last_case_is_packed_with_what_is_there(station: Station) -> None:
    batch = await station.factory.batch(quantity=5, units_per_case=5, exclude=["SKA000002"])
    await station.open(batch)
    await station.scan(batch.master_code(1))
    await station.expect_verdict("bad", "Only 4 units are prepared")
    await station.page.click("text=Pack the 4 that are there")
    await station.expect_verdict("good", "Case 1 packed")


async def test_a_lost_answer_packs_one_case(station: Station) -> None:
    batch = await station.factory.batch()
    await station.open(batch)
    lost: list[APIResponse] = []

    async def lose_the_first_answer(route: Route) -> None:
        if lost:
            await route.continue_()
            return
        lost.append(await route.fetch())
        await route.abort()

    await station.page.route("**/link-to-master-from-queue", lose_the_first_answer)
    await station.scan(batch.master_code(1))
    await station.expect_verdict("good", "Case 1 packed")
    assert len(lost) == 1
    assert len(await station.factory.packs(batch)) == 1


async def test_a_refusal_by_a_proxy_is_an_answer(station: Station) -> None:
    """It comes in HTML, and comes again however often the press is sent."""
    batch = await station.factory.batch()
    await station.open(batch)
    page = "<h1>413 Request Entity Too Large</h1>"
    await station.page.route(
        "**/link-to-master-from-queue",
        lambda route: route.fulfill(status=413, content_type="text/html", body=page),
    )
    await station.scan(batch.master_code(1))
    await station.expect_verdict("bad", "Not packed")
    await expect(station.page.locator("#verdict-text")).to_contain_text("HTTP 413")


async def test_a_reload_in_the_middle_loses_nothing_and_doubles_nothing(station: Station) -> None:
    batch = await station.factory.batch()
    await station.open(batch)
    await station.page.route("**/link-to-master-from-queue", lambda route: route.abort())
    await station.scan(batch.master_code(1))
    await station.expect_verdict("warn", "Waiting for the server")
    # In this order: else the press may be answered before the reload.
    await station.page.reload()
    await station.page.unroute_all()
    await station.expect_verdict("good", "Case 1 packed")
    assert len(await station.factory.packs(batch)) == 1


async def test_a_press_on_any_page_is_delivered_after_a_reload(station: Station) -> None:
    page, factory = station.page, station.factory
    batch = await factory.batch()
    await page.goto(f"{factory.address}/console/batches")
    await page.route("**/api/manufacturer/batches", lambda route: route.abort())
    await page.click("[data-opens=order]")
    order = {"product_name": "Soap", "order_id": batch.order_id, "quantity": "10", "serial_prefix": "SOA"}
    for name, value in order.items():
        await page.fill(f"[name={name}]", value)
    async with page.expect_event("requestfailed"):
        await page.click("#order-form .primary")
    # In this order: else the press may be answered before the reload.
    await page.reload()
    await page.unroute_all()
    await expect(page.locator("td a", has_text="Soap")).to_have_count(1)
    assert await page.evaluate("sessionStorage.getItem('qrtrack.press')") is None
    await station.open(batch)
    await station.scan(batch.master_code(1))
    await station.expect_verdict("good", "Case 1 packed")


async def test_a_scan_at_the_end_of_the_session_is_sent_after_signing_in_again(station: Station) -> None:
    batch = await station.factory.batch()
    await station.page.clock.install()
    await station.open(batch)
    # Else a part of the page that refreshes itself finds the end of the session first.
    await station.page.clock.pause_at(await station.page.evaluate("Date.now() + 1000"))
    station.factory.revoke()
    await station.scan(batch.master_code(1))
    await station.page.wait_for_url("**/console/sign-in?ended=1**")
    await station.page.clock.resume()
    await expect(station.page.locator(".notice.warn")).to_contain_text("what you scanned last is kept")
    await station.page.goto(station.factory.link())
    await station.page.wait_for_url(f"{station.factory.address}/console")
    await station.open(batch)
    await station.expect_verdict("good", "Case 1 packed")


async def test_a_page_that_refreshes_itself_leads_to_the_sign_in_and_says_why(station: Station) -> None:
    page = station.page
    await page.goto(f"{station.factory.address}/console/jobs?status=failed")
    station.factory.revoke()
    await page.wait_for_url("**/console/sign-in?ended=1&next=%2Fconsole%2Fjobs%3Fstatus%3Dfailed")
    await expect(page.locator(".notice.warn")).to_contain_text("Your session has ended")


async def test_a_sign_in_link_works_once(page: Page, factory: Factory) -> None:
    link = factory.link()
    assert link.startswith(f"{factory.address}/console/sign-in#"), "browsers do not send what stands behind the #"
    await page.goto(link)
    await page.wait_for_url(f"{factory.address}/console")
    await page.context.clear_cookies()
    await page.goto("about:blank")
    await page.goto(link)
    await expect(page.locator("#said")).to_have_text(
        "This link was used before, was withdrawn, or is older than 10 minutes. Ask for a new one."
    )


async def test_a_sign_in_link_works_in_a_tab_that_shows_the_sign_in_page(page: Page, factory: Factory) -> None:
    await page.goto(f"{factory.address}/console/sign-in")
    await page.goto(factory.link())
    await page.wait_for_url(f"{factory.address}/console")


async def test_the_plant_network_is_plain_http(page: Page, factory: Factory) -> None:
    """A day at `http://plant.test`, which is no secure context: no crypto.randomUUID, no wake lock."""
    there = replace(factory, address=factory.address.replace("127.0.0.1", "plant.test"))
    station = Station(page, there)
    await station.sign_in()
    assert not await page.evaluate("isSecureContext")
    batch_id = await order(station, units_per_case=5)
    await factory.until_codes_exist(batch_id)
    await page.get_by_role("link", name="Pack", exact=True).click()
    await page.fill("#exclude-codes", "SKA000003")
    await expect(page.locator("#exclude-said")).to_have_text("1 unit is excluded. 34 will be prepared.")
    await page.click("#start-shift")
    await expect(page.locator("#start-shift")).to_be_hidden()
    await page.click("#submit-job")
    await expect(page.locator("#waiting")).to_have_text("34")
    async with factory.client() as client:
        uniq_code = (await client.get(f"{API}/batches/{batch_id}")).json()["batch"]["uniq_code"]
    for number in (1, 2, 3):
        await station.scan(f"{uniq_code}-C000{number}")
        await station.expect_verdict("good", f"Case {number} packed")
    await station.scan(f"{uniq_code}-C0003")
    await station.expect_verdict("bad", "Case 3 is already packed")
    await page.wait_for_timeout(PERSON_MILLISECONDS)
    await page.keyboard.press("Space")
    await station.expect_verdict("idle", "Scan a case")
    await page.check("#checked")
    await station.scan(f"{uniq_code}-C0004", "SKA000017", "SKA000022")
    await station.expect_verdict("bad", "The box does not match")
    await page.click("text=SKA000018 is missing")
    await station.expect_verdict("good", "Case 4 packed")
    await page.click(f"[data-undo='{uniq_code}-C0004']")
    await page.fill("#undo-reason", "Box dropped")
    await page.click("#undo-go")
    await station.expect_verdict("good", "Case 4 is undone")


async def test_a_server_killed_between_request_and_answer_leaves_one_case(
    page: Page, complaints: list[str], mortal: MortalServer, migrated_url: str, tmp_path: Path
) -> None:
    factory = Factory(mortal.address, tmp_path, migrated_url)
    station = Station(page, factory)
    await station.sign_in()
    batch = await factory.batch()
    await station.open(batch)

    async def kill_after_the_effect(route: Route) -> None:
        await route.fetch()
        mortal.kill()
        await route.abort()

    await page.route("**/link-to-master-from-queue", kill_after_the_effect, times=1)
    await station.scan(batch.master_code(1))
    await station.expect_verdict("warn", "Waiting for the server")
    mortal.start()
    await station.expect_verdict("good", "Case 1 packed")
    assert len(await factory.packs(batch)) == 1
    await page.goto("about:blank")
    # htmx reports that the page's moving parts could not be refreshed meanwhile.
    complaints[:] = [complaint for complaint in complaints if not complaint.startswith("htmx:")]
