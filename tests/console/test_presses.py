"""A press is not lost, whatever the page does between the finger's touch and its lift, or before a script is there."""

from itertools import count

from playwright.async_api import Page, Route, expect

from console.station import Station, first, hold

QUEUE = "**/console/packing/queue**"
RECENT = "**/console/packing/recent**"
CHANGES = "**/static/changes.js"
CANCEL = "/api/manufacturer/reverse-job/cancel"


async def refresh(page: Page, part: str) -> None:
    async with page.expect_response(part) as answered:
        await page.evaluate("document.body.dispatchEvent(new Event('tick'))")
    await (await answered.value).finished()
    await page.evaluate("new Promise((done) => setTimeout(done, 50))")


async def change_each_time(page: Page, part: str, more: str = "") -> None:
    """The part is never as it was, so each tick swaps it."""
    numbers = count()

    async def answer(route: Route) -> None:
        got = await route.fetch()
        await route.fulfill(response=got, body=f"<p>{next(numbers)}</p>{more}{await got.text()}")

    await page.route(part, answer)


async def test_a_part_that_refreshes_itself_is_not_swapped_while_somebody_presses(station: Station) -> None:
    page = station.page
    batch = await station.factory.batch()
    await station.open(batch)
    await station.scan(batch.master_code(1))
    await station.expect_verdict("good", "Case 1 packed")
    await change_each_time(page, RECENT)
    await refresh(page, RECENT)
    await page.hover("[data-undo]")
    await page.mouse.down()
    await refresh(page, RECENT)
    await page.mouse.up()
    await expect(page.locator("#undo")).to_be_visible()
    before = await page.locator("#recent > p").text_content()
    await refresh(page, RECENT)
    await expect(page.locator("#recent > p")).not_to_have_text(before or "")


async def test_a_press_goes_on_when_its_part_is_swapped_before_the_script_is_there(station: Station) -> None:
    page = station.page
    batch = await station.factory.batch()
    await station.open(batch)
    button = (
        f"""<button data-path="{CANCEL}" data-body='{{"job_id": "{batch.batch_id}"}}' data-sure="?">Cancel</button>"""
    )
    await change_each_time(page, QUEUE, button)
    await refresh(page, QUEUE)
    held = await hold(page, CHANGES)
    async with page.expect_request(CHANGES):
        await page.click(f"[data-path='{CANCEL}']")
    before = await page.locator("#queue > p").first.text_content()
    while await page.locator("#queue > p").first.text_content() == before:
        await refresh(page, QUEUE)
    await (await first(held)).continue_()
    async with page.expect_request(f"**{CANCEL}"):
        await page.click("#sure [value=yes]")


async def test_a_part_that_is_asked_for_by_a_press_comes_also_at_once(station: Station) -> None:
    page = station.page
    batch = await station.factory.batch()

    async def answer(route: Route) -> None:
        await route.fulfill(body="<p>Counted once more</p>")

    await page.goto(f"{station.factory.address}/console/batches/{batch.batch_id}")
    await expect(page.locator("#reconciled table")).to_be_visible()
    await page.route("**/reconciliation", answer)
    await page.click("#reconciliation button")
    await expect(page.locator("#reconciled")).to_have_text("Counted once more")


async def test_a_list_that_is_sent_before_it_was_checked_is_sent_once_it_is(station: Station) -> None:
    page = station.page
    batch = await station.factory.batch(exclude=None)
    await station.open(batch)
    await page.fill("#exclude-codes", "SKA999999")
    await page.click("#submit-job")
    await expect(page.locator("#exclude-said")).to_have_text("1 of these is not in this batch: correct it.")
    await page.fill("#exclude-codes", "SKA000003")
    await page.click("#submit-job")
    await expect(page.locator("#job-said")).to_have_text("The job is done: 39 units were prepared.")
