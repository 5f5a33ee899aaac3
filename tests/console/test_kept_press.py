"""A press that waits for its answer belongs to the person who made it, whoever signs in next in the same tab."""

from dataclasses import replace
from uuid import uuid4

from playwright.async_api import Page, expect

from console.station import Batch, Factory, Station

LINKING = "**/link-to-master-from-queue"
# How often the page would refresh its parts when it comes into view.
TICKS = """() => {
  let ticks = 0;
  document.body.addEventListener("tick", () => (ticks += 1));
  document.dispatchEvent(new Event("visibilitychange"));
  return ticks;
}"""


async def left_behind(station: Station) -> Batch:
    """A scan that no server answered, by a person who has signed out."""
    batch = await station.factory.batch()
    await station.open(batch)
    await station.page.route(LINKING, lambda route: route.abort())
    await station.scan(batch.master_code(1))
    await station.expect_verdict("warn", "Waiting for the server")
    await sign_out(station.page)
    await station.page.unroute_all()
    return batch


async def sign_out(page: Page) -> None:
    await page.locator(".who summary").click()
    await page.locator(".who").get_by_role("button", name="Sign out").click()
    await page.wait_for_url("**/console/sign-in**")


async def end_session(page: Page) -> None:
    """Leaves the page before: a part that refreshes itself would lead to the sign-in page in the middle of a step."""
    await page.goto("about:blank")
    await page.context.clear_cookies()


def colleague(station: Station) -> Station:
    return Station(station.page, replace(station.factory, user=str(uuid4())))


async def test_a_press_is_not_sent_in_the_name_of_the_next_person(station: Station) -> None:
    page, factory = station.page, station.factory
    batch = await left_behind(station)
    other = colleague(station)
    await other.sign_in()
    short = factory.user[:8]
    await expect(page.locator("#left p")).to_contain_text(f"{short}… pressed “Pack case {batch.master_code(1)}”")
    await expect(page.locator("#left p")).to_contain_text("It is not sent in your name.")
    await other.open(batch)
    await expect(page.locator("#left")).to_be_visible()
    await other.expect_verdict("warn", "Another person's action waits")
    await other.scan(batch.master_code(2))
    await expect(page.locator("#not-taken")).to_contain_text("The server has not answered another person's action yet")
    assert await factory.packs(batch) == []
    await page.click("#left button")
    await other.expect_verdict("idle", "Scan a case")
    await expect(page.locator("#left")).to_be_hidden()
    await expect(page.locator("#master")).to_have_value("")
    await other.scan(batch.master_code(2))
    await other.expect_verdict("good", "Case 2 packed")
    assert [pack["actor"] for pack in await factory.packs(batch)] == [other.factory.user]


async def test_a_press_is_sent_when_the_same_person_signs_in_again(station: Station) -> None:
    batch = await left_behind(station)
    await colleague(station).sign_in()
    await expect(station.page.locator("#left")).to_be_visible()
    await sign_out(station.page)
    await station.sign_in()
    await expect(station.page.locator("#left")).to_be_hidden()
    await station.open(batch)
    await station.expect_verdict("good", "Case 1 packed")
    assert [pack["actor"] for pack in await station.factory.packs(batch)] == [station.factory.user]


async def test_a_press_on_a_page_that_is_open_while_another_person_signs_in_in_another_tab_is_not_theirs(
    station: Station,
) -> None:
    page, factory = station.page, station.factory
    batch = await factory.batch()
    await page.goto(f"{factory.address}/console/batches/{batch.batch_id}")
    tab = await page.context.new_page()
    await Station(tab, colleague(station).factory).sign_in()
    await page.click("[data-opens=close]")
    await page.fill("#close [name=reason]", "Sold out")
    await page.click("#close .danger")
    await expect(page.locator("#left p")).to_contain_text("pressed “Gold 1 g · qrtrack: ")
    async with factory.client() as client:
        shown = (await client.get(f"/api/manufacturer/batches/{batch.batch_id}")).json()["batch"]
    assert shown["closed_at"] is None


async def test_a_list_of_damaged_units_is_not_submitted_in_the_name_of_the_next_person(
    station: Station, factory: Factory
) -> None:
    page = station.page
    batch = await factory.batch(exclude=None)
    await station.open(batch)
    await page.fill("#exclude-codes", "SKA000003")
    await expect(page.locator("#exclude-said")).to_have_text("1 unit is excluded. 39 will be prepared.")
    await page.route("**/reverse-job/submit", lambda route: route.abort())
    await page.click("#submit-job")
    await expect(page.locator("#exclude-said")).to_contain_text("Your scan is kept")
    await sign_out(page)
    await page.unroute_all()
    other = colleague(station)
    await other.sign_in()
    await other.open(batch)
    await expect(page.locator("#left p")).to_contain_text("pressed “Prepare all others”")
    await sign_out(page)
    await station.sign_in()
    await station.open(batch)
    await expect(page.locator("#waiting")).to_have_text("39")
    async with factory.client() as client:
        jobs = (await client.get(f"/api/manufacturer/reverse-job/jobs?batch_id={batch.batch_id}")).json()["jobs"]
    assert len(jobs) == 1


async def test_a_list_on_a_page_that_is_open_while_another_person_signs_in_in_another_tab_is_not_theirs(
    station: Station,
) -> None:
    """Neither what counts it nor what submits it speaks of user ids: the page of the person who is here comes."""
    page, factory = station.page, station.factory
    batch = await factory.batch(exclude=None)
    await station.open(batch)
    await page.fill("#exclude-codes", "SKA000003")
    await expect(page.locator("#exclude-said")).to_have_text("1 unit is excluded. 39 will be prepared.")
    other = colleague(station)
    await Station(await page.context.new_page(), other.factory).sign_in()
    await page.click("#submit-job")
    await expect(page.locator(f"body[data-person$='{other.factory.user}']")).to_be_attached()
    await expect(page.locator("#exclude-codes")).to_have_value("")
    await Station(await page.context.new_page(), factory).sign_in()
    await page.fill("#exclude-codes", "SKA000004")
    await expect(page.locator(f"body[data-person$='{factory.user}']")).to_be_attached()
    await expect(page.locator("#exclude-codes")).to_have_value("")
    async with factory.client() as client:
        jobs = (await client.get(f"/api/manufacturer/reverse-job/jobs?batch_id={batch.batch_id}")).json()["jobs"]
    assert jobs == []


async def test_root_keys_are_not_taken_in_the_name_of_the_next_person(station: Station) -> None:
    page, factory = station.page, station.factory
    batch = await factory.batch(exclude=None)
    await page.goto(f"{factory.address}/console/batches/{batch.batch_id}/exports")
    await Station(await page.context.new_page(), colleague(station).factory).sign_in()
    await page.click("form[action$='/exports/keys'] button >> nth=1")
    await page.click("#sure [value=yes]")
    await expect(page.locator("h1")).to_have_text("Another person has signed in")
    await page.go_back()
    await page.reload()
    await page.click("form[action$='/exports/keys'] button >> nth=1")
    async with page.expect_download() as download:
        await page.click("#sure [value=yes]")
    assert (await download.value).suggested_filename.startswith("codes-with-root-keys-")


async def drafts(page: Page) -> list[str]:
    """What is kept in the tab of lists that were not sent."""
    kept: list[str] = await page.evaluate("Object.keys(sessionStorage).filter((key) => key.includes('exclude'))")
    return kept


async def test_a_list_that_was_only_typed_is_not_shown_to_the_next_person(station: Station) -> None:
    """Signing out deletes it. A session that has ended keeps it for the same person, and another one deletes it."""
    page, factory = station.page, station.factory
    batch = await factory.batch(exclude=None)

    async def type_codes() -> None:
        await station.open(batch)
        await page.fill("#exclude-codes", "SKA000003")
        await expect(page.locator("#exclude-said")).to_have_text("1 unit is excluded. 39 will be prepared.")

    await type_codes()
    assert len(await drafts(page)) == 1
    await sign_out(page)
    await expect(page.get_by_text("You have signed out.")).to_be_visible()
    assert await drafts(page) == []
    await station.sign_in()
    await type_codes()
    await end_session(page)
    await station.sign_in()
    await station.open(batch)
    await expect(page.locator("#exclude-codes")).to_have_value("SKA000003")
    await end_session(page)
    other = colleague(station)
    await other.sign_in()
    await other.open(batch)
    await expect(page.locator("#exclude-codes")).to_have_value("")
    await page.click("[data-types=exclude-codes]")
    await expect(page.locator("#exclude-said")).to_have_text("")
    await station.sign_in()
    await station.open(batch)
    await expect(page.locator("#exclude-codes")).to_have_value("")


async def test_parts_of_a_page_show_nothing_of_another_person_who_signed_in_in_another_tab(station: Station) -> None:
    """They stop, and ask the person to load the page again."""
    page = station.page
    batch = await station.factory.batch()
    await station.open(batch)
    assert await page.evaluate(TICKS) == 1
    other = colleague(station)
    await Station(await page.context.new_page(), other.factory).sign_in()
    notice = page.locator("#stale")
    await expect(notice).to_contain_text("Another person has signed in in this browser.")
    await expect(page.locator("#waiting")).to_have_text("40")
    assert await page.evaluate(TICKS) == 0
    await notice.get_by_role("link", name="Load again").click()
    await expect(page.locator(f"body[data-person$='{other.factory.user}']")).to_be_attached()
    await expect(notice).to_be_hidden()
