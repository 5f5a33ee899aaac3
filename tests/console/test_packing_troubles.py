"""What operators suffer from elsewhere, on our packing page: wherever the focus is, whatever the scanner sends, and
whatever happens to the network, the session and the tab meanwhile.

How keys become codes is in scans.json: layouts, Caps Lock, Alt codes, suffixes, AIM identifiers.
"""

from typing import Any

from playwright.async_api import Page, expect

from console.conftest import OpenPage
from console.station import PERSON_MILLISECONDS, Batch, Factory, Station, first, hold

PACK = "**/link-to-master-from-queue"
SUBMIT = "**/reverse-job/submit"


async def opened(station: Station, **asked: Any) -> Batch:
    batch = await station.factory.batch(**asked)
    await station.open(batch)
    return batch


async def send_keys(page: Page, *keys: str) -> None:
    """As a scanner that is set to a layout which Playwright does not know."""
    for key in keys:
        await page.evaluate(
            "key => document.body.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}))", key
        )


async def scan_with_tab(page: Page, code: str) -> None:
    """At the speed of a scanner, however slow the machine is: the clock of the page stands still."""
    await page.clock.pause_at(await page.evaluate("Date.now() + 1000"))
    await page.keyboard.type(code)
    await page.keyboard.press("Tab")
    await page.clock.resume()


# Where the focus is


async def test_a_scan_counts_wherever_the_focus_is(station: Station) -> None:
    batch = await opened(station)
    for number, focus in enumerate(("#start-shift", "#checked", "a.brand", "#master"), start=1):
        await station.page.locator(focus).focus()
        await station.scan(batch.master_code(number))
        await station.expect_verdict("good", f"Case {number} packed")
    # The fields bring up no keyboard of a tablet, until it is asked for.
    assert await station.page.evaluate("[master.inputMode, master.readOnly]") == ["none", False]
    await station.page.click("[data-types^=master]")
    assert await station.page.evaluate("[master.inputMode, document.activeElement.id]") == ["text", "master"]


async def test_an_enter_alone_changes_nothing(station: Station) -> None:
    batch = await opened(station)
    await station.page.locator("#master").focus()
    await station.scan(batch.master_code(1))
    await station.page.keyboard.press("Enter")
    await station.expect_verdict("good", "Case 1 packed")
    await station.page.wait_for_timeout(PERSON_MILLISECONDS)
    await station.page.keyboard.press("Enter")
    await station.expect_verdict("good", "Case 1 packed")


async def test_a_code_typed_by_hand_is_seen_while_it_is_typed(station: Station) -> None:
    batch = await opened(station)
    await station.page.keyboard.type(batch.master_code(1)[:-1] + "9")
    await station.page.keyboard.press("Backspace")
    await station.page.keyboard.type("1")
    await expect(station.page.locator("#master")).to_have_value(batch.master_code(1))
    await station.page.keyboard.press("Enter")
    await station.expect_verdict("good", "Case 1 packed")
    await expect(station.page.locator("#master")).to_have_value("")


async def test_the_first_known_code_of_several_in_one_trigger_counts(station: Station) -> None:
    batch = await opened(station)
    await station.page.clock.pause_at(await station.page.evaluate("Date.now() + 1000"))
    await station.page.keyboard.type(f"8991234567890\n{batch.master_code(1)}\n8990000000017\n")
    await station.page.clock.resume()
    await station.expect_verdict("good", "Case 1 packed")
    assert len(await station.factory.packs(batch)) == 1


async def test_codes_that_a_trigger_sends_after_an_error_do_not_count(station: Station) -> None:
    batch = await opened(station)
    await station.page.evaluate(
        """code => new MutationObserver(() => {
            if (verdict.className !== "verdict bad" || globalThis.hasSent) return;
            globalThis.hasSent = true;
            for (const key of [...code, "Enter"]) {
                document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
            }
        }).observe(verdict, { attributes: true })""",
        batch.master_code(1),
    )
    await station.scan("NOCASE-C1")
    await station.expect_verdict("bad", "This is no case of yours")
    assert await station.page.evaluate("hasSent")
    await expect(station.page.locator("#not-taken")).to_be_empty()
    assert await station.factory.packs(batch) == []


async def test_a_scanner_with_another_keyboard_is_named(station: Station) -> None:
    batch = await opened(station)
    await send_keys(station.page, *"ЫЛФ000001", "Enter")
    await station.expect_verdict("bad", "Scanner setting")
    assert await station.factory.packs(batch) == []


async def test_the_session_starts_sounds_at_the_first_touch_and_an_error_sounds_unlike_a_success(
    station: Station,
) -> None:
    await station.page.add_init_script(
        "globalThis.tones = []; const start = OscillatorNode.prototype.start; OscillatorNode.prototype.start ="
        " function (at) { tones.push(this.frequency.value); return start.call(this, at) }"
    )
    batch = await opened(station)
    await station.page.click("#start-shift")
    await expect(station.page.locator(".head [role=status]")).to_have_text("Sounds are on.")
    await station.scan(batch.master_code(1))
    await station.expect_verdict("good", "Case 1 packed")
    assert await station.page.evaluate("tones.splice(0)") == [1320, 1320]
    await station.scan(batch.master_code(1))
    await station.expect_verdict("bad", "Case 1 is already packed")
    assert await station.page.evaluate("tones.splice(0)") == [220, 220]
    await station.scan(batch.master_code(2))
    await expect(station.page.locator("#not-taken")).not_to_be_empty()
    assert await station.page.evaluate("tones.splice(0)") == [220, 220], "a scan that was not taken is heard"


async def test_starting_the_shift_keeps_the_screen_on_also_after_another_program_was_in_front(
    station: Station,
) -> None:
    await station.page.add_init_script(
        "globalThis.kept = []; const request = WakeLock.prototype.request; WakeLock.prototype.request ="
        " function (kind) { kept.push(kind); return request.call(this, kind) }"
    )
    await opened(station)
    show = "({ hidden }) => { Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });"
    show += " document.dispatchEvent(new Event('visibilitychange')) }"
    await station.page.evaluate(show, {"hidden": False})
    assert await station.page.evaluate("kept") == []
    await station.page.click("#start-shift")
    await expect(station.page.locator("#start-shift")).to_be_hidden()
    assert await station.page.evaluate("kept") == ["screen"]
    for hidden in (True, False):
        await station.page.evaluate(show, {"hidden": hidden})
    assert await station.page.evaluate("kept") == ["screen", "screen"]


async def test_messages_appear_in_regions_that_a_screen_reader_knows_from_the_start(station: Station) -> None:
    """A region that appears with its text is not read. `display: none` is not there for a screen reader."""
    batch = await opened(station)
    regions = station.page.locator("#verdict, #exclude-said, #job-said, main > [data-said]")
    await regions.evaluate_all("all => { globalThis.regions = all }")
    assert (
        await station.page.evaluate(
            "regions.map((one) => [one.getAttribute('role'), getComputedStyle(one).display !== 'none'])"
        )
        == [["status", True]] * 4
    )
    await station.scan(batch.master_code(1))
    await station.expect_verdict("good", "Case 1 packed")
    await station.scan(batch.master_code(1))
    await station.expect_verdict("bad", "Case 1 is already packed")
    await station.page.evaluate("document.body.dispatchEvent(new Event('tick'))")
    assert await station.page.evaluate("regions.every((one) => one.isConnected)")
    assert "Case 1 is already packed" in await station.page.evaluate(
        "regions.find((one) => one.id === 'verdict').textContent"
    )


async def test_going_back_shows_a_whole_page(station: Station) -> None:
    """Parts of pages have addresses of their own, so the browser never takes one for the page."""
    batch = await opened(station)
    async with station.page.expect_response("**/console/packing/queue**"):
        await station.page.evaluate("document.body.dispatchEvent(new Event('tick'))")
    await station.page.goto(f"{station.factory.address}/console/jobs")
    await station.page.go_back()
    await expect(station.page.locator("nav.pages")).to_be_visible()
    await station.scan(batch.master_code(1))
    await station.expect_verdict("good", "Case 1 packed")


async def test_an_error_is_acknowledged_also_where_the_network_answers_with_a_page_of_its_own(
    station: Station, complaints: list[str]
) -> None:
    batch = await opened(station)
    body = "<h1>Sign in to the network</h1>"
    await station.page.route(
        "**/console/packing/queue**", lambda route: route.fulfill(body=body, content_type="text/html")
    )
    await station.scan("ABCDEFGH-C0001")
    await station.expect_verdict("bad", "This is no case of yours")
    await expect(station.page.locator("#queue")).to_have_text("Sign in to the network")
    await station.page.wait_for_timeout(PERSON_MILLISECONDS)
    await station.page.keyboard.press("Space")
    await station.expect_verdict("idle", "Scan a case")
    await station.scan(batch.master_code(1))
    await station.expect_verdict("good", "Case 1 packed")
    assert complaints == []


# While something else goes on


async def test_a_scan_while_the_answer_is_on_its_way_is_refused_and_seen(station: Station) -> None:
    batch = await opened(station)
    held = await hold(station.page, PACK)
    await station.scan(batch.master_code(1))
    await station.expect_verdict("busy", "Packing …")
    await station.scan(batch.master_code(2))
    told = station.page.locator("#not-taken")
    await expect(told).to_have_text(f"Not taken: {batch.master_code(2)}. Scan it again after the answer.")
    await (await first(held)).continue_()
    await station.expect_verdict("good", "Case 1 packed")
    await station.page.unroute_all()
    await expect(told).not_to_be_empty()
    await station.scan(batch.master_code(2))
    await station.expect_verdict("good", "Case 2 packed")
    await expect(told).to_be_empty()
    assert len(held) == 1


async def test_a_scan_belongs_to_the_dialog_that_is_open(station: Station) -> None:
    batch = await opened(station)
    await station.scan(batch.master_code(1))
    await station.expect_verdict("good", "Case 1 packed")
    await station.page.click("[data-undo]")
    await expect(station.page.locator("#undo-reason")).to_be_focused()
    await station.page.keyboard.press("Escape")
    await expect(station.page.locator("#undo")).to_be_hidden()
    await station.page.click("[data-move]")
    await expect(station.page.locator("#move-to")).to_be_focused()
    # This scanner ends its scans with Tab.
    await scan_with_tab(station.page, batch.master_code(2))
    await station.expect_verdict("good", "Moved to case 2")
    assert len(await station.factory.packs(batch)) == 1


async def test_a_reload_in_the_middle_of_a_question_asks_it_again(station: Station) -> None:
    batch = await opened(station, units_per_case=3)
    await station.page.check("#checked")
    await station.scan(batch.master_code(1), "SKA000001")
    await station.page.reload()
    await expect(station.page.locator("#first")).to_have_value("SKA000001")
    await station.scan("SKA000004")
    await station.expect_verdict("bad", "The box does not match")
    await station.page.reload()
    await station.expect_verdict("bad", "The box does not match")
    # Neither does another batch in between lose it.
    other = await station.factory.batch()
    await station.open(other)
    await station.expect_verdict("idle", "Scan a case")
    await station.open(batch)
    await station.page.click("text=SKA000002 is missing")
    await station.expect_verdict("good", "Case 1 packed")
    await station.page.reload()
    await station.expect_verdict("idle", "Scan a case")


async def test_two_stations_of_one_person_pack_side_by_side(station: Station) -> None:
    batch = await opened(station)
    other = Station(await station.page.context.new_page(), station.factory)
    await other.open(batch)
    held = [await hold(one.page, PACK) for one in (station, other)]
    await station.scan(batch.master_code(1))
    await other.scan(batch.master_code(2))
    for one, requests in zip((station, other), held, strict=True):
        await one.expect_verdict("busy", "Packing …")
        await (await first(requests)).continue_()
    for number, one in enumerate((station, other), start=1):
        await one.expect_verdict("good", f"Case {number} packed")
        await one.page.unroute_all()
    for one in (station, other):
        await one.scan(batch.master_code(3))
        await expect(one.page.locator("#verdict-title")).to_contain_text("Case 3")
    verdicts = {await one.page.locator("#verdict-title").text_content() for one in (station, other)}
    assert verdicts == {"Case 3 packed", "Case 3 is already packed"}
    assert len(await station.factory.packs(batch)) == 3


async def test_a_hidden_tab_asks_nothing_and_looks_again_at_once(station: Station) -> None:
    batch = await opened(station)
    asked: list[str] = []
    station.page.on("request", lambda request: asked.append(request.url))
    async with station.page.expect_request("**/console/packing/queue**"):
        pass
    hide = "({ hidden }) => { Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });"
    hide += " document.dispatchEvent(new Event('visibilitychange')) }"
    await station.page.clock.install()
    await station.page.reload()
    await station.page.evaluate(hide, {"hidden": True})
    await station.page.wait_for_load_state("networkidle")
    asked.clear()
    await station.page.clock.run_for(60_000)
    assert asked == []
    async with station.page.expect_request("**/console/packing/queue**"):
        await station.page.evaluate(hide, {"hidden": False})
    assert await station.factory.packs(batch) == []


async def test_a_part_that_is_unchanged_keeps_the_focus_on_its_button(station: Station) -> None:
    batch = await opened(station)
    await station.scan(batch.master_code(1))
    await station.expect_verdict("good", "Case 1 packed")
    await station.page.locator("[data-undo]").focus()
    for _ in range(2):
        async with station.page.expect_response("**/console/packing/recent**"):
            await station.page.evaluate("document.body.dispatchEvent(new Event('tick'))")
    await expect(station.page.locator("[data-undo]")).to_be_focused()


# The list of damaged units


async def test_damaged_units_are_scanned_into_the_list_each_on_its_line(station: Station) -> None:
    batch = await station.factory.batch(exclude=None)
    await station.open(batch)
    codes = station.page.locator("#exclude-codes")
    await codes.focus()
    await station.page.evaluate("import('/console/static/excluding.js')")
    # With Enter, with Tab, with an AIM identifier, and as the address in the unit's own symbol.
    await station.page.keyboard.type("ska000003\n")
    await scan_with_tab(station.page, "]Q1SKA000004")
    await expect(codes).to_have_value("SKA000003\nSKA000004\n")
    await expect(codes).to_be_focused()
    await station.page.keyboard.type(f"https://verify.example.com/q/{batch.uniq_code}/SKA000005\n")
    await expect(station.page.locator("#exclude-said")).to_have_text("3 units are excluded. 37 will be prepared.")
    await expect(station.page.locator("#master")).to_have_value("")
    await station.expect_verdict("idle", "No unit waits for a case")
    await station.page.click("#submit-job")
    await expect(station.page.locator("#job-said")).to_have_text("The job is done: 37 units were prepared.")
    await expect(codes).to_have_value("")
    await expect(station.page.locator("#waiting")).to_have_text("37")


async def test_the_list_marks_wrong_codes_and_offers_the_right_one(station: Station) -> None:
    batch = await station.factory.batch()
    await station.open(batch)
    await station.scan(batch.master_code(1))
    await station.expect_verdict("good", "Case 1 packed")
    await station.page.fill(
        "#exclude-codes", f"SKA000001 SKA000012 SKA000012 SKA0O0O13 SKA000041 {batch.master_code(2)}"
    )
    marks = station.page.locator("#marks")
    await expect(marks.locator(".mark.bad")).to_have_count(3)
    await expect(marks).to_contain_text("SKA000012 · listed twice")
    await expect(marks).to_contain_text("SKA000001 · already packed, void or with a consumer")
    await expect(marks).to_contain_text("SKA000041: this batch has SKA000001 to SKA000040.")
    await expect(marks).to_contain_text(f"{batch.master_code(2)} is a case, not a unit.")
    await expect(station.page.locator("#submit-job")).to_be_disabled()
    await marks.get_by_text("SKA0O0O13 is not in this batch. Take SKA000013 instead").click()
    await expect(station.page.locator("#exclude-codes")).to_have_value(
        f"SKA000001 SKA000012 SKA000012 SKA000013 SKA000041 {batch.master_code(2)}"
    )
    await expect(marks.locator(".mark.bad")).to_have_count(2)


async def test_a_submission_outlives_the_network_a_reload_and_another_batch(station: Station) -> None:
    one, two = [await station.factory.batch(exclude=None) for _ in range(2)]
    await station.open(one)
    await station.page.route(SUBMIT, lambda route: route.abort())
    await station.page.fill("#exclude-codes", "SKA000003")
    await expect(station.page.locator("#exclude-said")).to_have_text("Checking …")
    await station.page.unroute_all()
    await expect(station.page.locator("#exclude-said")).to_have_text("1 unit is excluded. 39 will be prepared.")
    await station.page.route(SUBMIT, lambda route: route.abort())
    await station.page.click("#submit-job")
    await expect(station.page.locator("#exclude-said")).to_contain_text("sent again by itself")
    await expect(station.page.locator("#submit-job")).to_be_disabled()
    # Meanwhile no other press leaves.
    await station.scan(one.master_code(1))
    await expect(station.page.locator("#not-taken")).to_contain_text("Scan it again after the answer")
    await station.page.unroute_all()
    await station.open(two)
    async with station.factory.client() as client:
        path = f"/api/manufacturer/reverse-job/jobs?batch_id={one.batch_id}"
        while not (jobs := (await client.get(path)).json()["jobs"]):
            pass
    assert len(jobs) == 1
    await station.open(one)
    await expect(station.page.locator("#waiting")).to_have_text("39")


async def test_a_list_that_is_half_written_is_there_again(station: Station) -> None:
    batch = await opened(station)
    await station.page.fill("#exclude-codes", "SKA000003")
    await station.page.goto(f"{station.factory.address}/console")
    await station.open(batch)
    await expect(station.page.locator("#exclude-codes")).to_have_value("SKA000003")
    await expect(station.page.locator("#exclude-said")).to_have_text("1 unit is excluded. 0 will be prepared.")


async def test_a_list_sent_after_the_end_of_the_session_is_sent_after_signing_in(station: Station) -> None:
    batch = await station.factory.batch(exclude=None)
    await station.page.clock.install()
    await station.open(batch)
    await station.page.fill("#exclude-codes", "SKA000003")
    await expect(station.page.locator("#exclude-said")).to_have_text("1 unit is excluded. 39 will be prepared.")
    # Else a part of the page that refreshes itself finds the end of the session first.
    await station.page.clock.pause_at(await station.page.evaluate("Date.now() + 1000"))
    station.factory.revoke()
    await station.page.click("#submit-job")
    await station.page.wait_for_url("**/console/sign-in?ended=1**")
    await station.page.clock.resume()
    await station.sign_in()
    await station.open(batch)
    await expect(station.page.locator("#waiting")).to_have_text("39")


# A touch screen


async def test_everything_on_the_line_is_large_enough_for_a_thumb(open_page: OpenPage, factory: Factory) -> None:
    station = Station(await open_page(viewport={"width": 768, "height": 1024}, has_touch=True), factory)
    await station.sign_in()
    batch = await opened(station)
    await station.scan(batch.master_code(1))
    await station.expect_verdict("good", "Case 1 packed")
    await expect(station.page.locator("[data-undo]")).to_be_visible()
    await station.scan(batch.master_code(1))
    await station.expect_verdict("bad", "Case 1 is already packed")
    small = """[...document.querySelectorAll("#line input:not([type=checkbox]), #line button, #line .check")]
        .filter((control) => control.offsetParent && control.getBoundingClientRect().height < 64)
        .map((control) => control.id || control.textContent)"""
    assert await station.page.evaluate(small) == []
    assert await station.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def test_an_answer_is_seen_whatever_the_screen_and_wherever_it_was_scrolled_to(station: Station) -> None:
    page = station.page
    batch = await opened(station)
    await page.set_viewport_size({"width": 1180, "height": 820})
    await page.check("#checked")
    await station.scan(batch.master_code(1))
    assert await page.evaluate("master.scrollWidth <= master.clientWidth"), "the whole code of the case can be read"
    await station.scan("SKA000001", "SKA000010")
    await station.expect_verdict("good", "Case 1 packed")
    await station.scan(batch.master_code(1), "SKA000001", "SKA000010")
    await station.expect_verdict("bad", "Case 1 is already packed")
    await expect(page.get_by_role("button", name="Understood")).to_be_in_viewport(ratio=1)
    await page.get_by_role("button", name="Understood").click()
    await page.set_viewport_size({"width": 390, "height": 844})
    await page.click("[data-undo]")
    await page.fill("#undo-reason", "Box dropped")
    await page.click("#undo-go")
    await station.expect_verdict("good", "Case 1 is undone")
    await expect(page.locator("#verdict")).to_be_in_viewport(ratio=1)
    await station.scan(batch.master_code(1), "SKA000001", "SKA000011")
    await station.expect_verdict("bad", "The box does not match")
    await expect(page.locator("#verdict-title")).to_be_in_viewport(ratio=1)
