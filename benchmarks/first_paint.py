"""First contentful paint of every page of the console, with 1,000,000 codes and 10,000 jobs in the database.

Bar: p95 < 1 s. Chromium opens each page with an empty cache, in turns with `/healthz`: what it needs for a page of one
line. Before, each page answers once: the server has read its templates.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import httpx2
from playwright.async_api import Browser, async_playwright

from benchmarks.ground import Ground, open_ground
from benchmarks.report import Report, percentile
from benchmarks.seed import Seeded, seed_batch, tidy
from benchmarks.server import serving
from console.conftest import ARGUMENTS, CHROMIUM
from console.every_page import pages
from console.full_plant import fill_plant, settings_for
from plant import Plant
from process import PRINTED_HOST
from qrtrack.routers.dependencies import SESSION_COOKIE
from qrtrack.services.console_sessions import open_session

CODES, JOBS, EVENTS, ROUNDS = 1_000_000, 10_000, 100_000, 5
BASELINE: Final = "/healthz"
SETTINGS: Final = {"retired_public_hosts": PRINTED_HOST, "printer_networks": "127.0.0.0/8"}
SERVER_SETTINGS: Final[Mapping[str, str]] = {name.upper(): value for name, value in SETTINGS.items()}
FIRST_PAINT: Final = """new Promise((resolve) => new PerformanceObserver((list) => {
    for (const entry of list.getEntriesByName("first-contentful-paint")) resolve(entry.startTime);
}).observe({ type: "paint", buffered: true }))"""

# Jobs of many batches over weeks, the newest ones at work.
MANY_JOBS = """
INSERT INTO qr_reverse_jobs (id, batch_id, order_id, manufacturer_org_id, exclude_codes, first_sequence, last_sequence,
    next_sequence, counted_at, total_available_in_batch, remaining_to_prepare, prepared_count, progress,
    result_summary, error_message, created_by, status, created_at, finished_at)
SELECT gen_random_uuid(), id, order_id, manufacturer_org_id, '{}', 1, 1, 2, now(), 1, 0, 1,
    CASE number % 10 WHEN 0 THEN 0 ELSE 100 END, CASE number % 10 WHEN 0 THEN NULL ELSE '{}' END::jsonb,
    CASE number % 10 WHEN 0 THEN 'No worker was left.' END, 'benchmark',
    CASE number % 10 WHEN 0 THEN 'failed' ELSE 'completed' END, now() - number * interval '1 minute', now()
FROM qr_batches CROSS JOIN generate_series(1, $2::int) AS number WHERE id = $1
"""
MANY_EVENTS = """
INSERT INTO webhook_queue (manufacturer_org_id, type, database_id, uuid, payload, status, attempts, finished_at)
SELECT $1, 'SALES_INVOICE', 1443290, 'benchmark-' || number, '{}', CASE number % 100 WHEN 0 THEN 'dead' ELSE 'done' END,
    1, now()
FROM generate_series(1, $2::int) AS number
"""
MANY_CHECKS = """
INSERT INTO verifications (manufacturer_org_id, batch_id, sequence_number, purpose, result)
SELECT manufacturer_org_id, id, number, 'consumer', 'genuine'
FROM qr_batches CROSS JOIN generate_series(1, $2::int) AS number WHERE id = $1
"""
TABLES: Final = ("webhook_queue", "verifications", "qr_reverse_jobs")


async def run(*, full: bool) -> Report:
    report = Report("first_paint")
    if CHROMIUM is None:
        print("first_paint needs the system package chromium: scripts/browser.sh installs it")
        return report
    async with AsyncExitStack() as stack:
        ground = await stack.enter_async_context(open_ground(**SETTINGS))
        seeds = await _fill(ground)
        settings: dict[str, Any] = {**SERVER_SETTINGS, **settings_for(Plant(ground.runtime, ground.caller))}
        server = await stack.enter_async_context(serving(ground, with_worker=False, **settings))
        site = f"http://127.0.0.1:{server.port}"
        session = await open_session(ground.runtime.database, ground.caller, station="Line 1", hours=8)
        async with httpx2.AsyncClient(base_url=site, cookies={SESSION_COOKIE: session}, trust_env=False) as client:
            found = await pages(client, seeds)
        browser = await stack.enter_async_context(_browser())
        for address in found:
            bare, ours = await _alternate(browser, site, session, address, ROUNDS * 3 if full else ROUNDS)
            beside = f"p50 {percentile(ours, 50):.0f} ms; {BASELINE} p50 {percentile(bare, 50):.0f} ms"
            label = f"{_named(address, seeds)} ({beside}, p95 {percentile(bare, 95):.0f} ms), p95"
            report.at_most(label, percentile(ours, 95), "ms", 1000, ours)
        report.note(f"{CODES:,} codes, {JOBS:,} jobs, {EVENTS:,} webhook events and as many checks")
        report.publish(ground.machine)
    return report


async def _fill(ground: Ground) -> Mapping[str, str]:
    """A plant with every state, a packed batch, and the big batch, whose pages are opened: all its codes wait."""
    seeds = await fill_plant(Plant(ground.runtime, ground.caller))
    await seed_batch(ground.bare, ground.organisation, CODES // 10, packed=True)
    big = await seed_batch(ground.bare, ground.organisation, CODES, prepared=True)
    async with ground.bare.transaction():
        await ground.bare.execute("SET LOCAL session_replication_role = replica")
        await ground.bare.execute(MANY_JOBS, big.batch_id, JOBS)
        await ground.bare.execute(MANY_EVENTS, ground.organisation, EVENTS)
        await ground.bare.execute(MANY_CHECKS, big.batch_id, EVENTS)
    await tidy(ground.bare)
    for table in TABLES:
        await ground.bare.execute(f"VACUUM (ANALYZE) {table}")
    await ground.settle()
    return dict(seeds) | _of_big(big)


def _of_big(big: Seeded) -> dict[str, str]:
    code = big.code(CODES // 2)
    return {
        "batch_id": str(big.batch_id),
        "batch": str(big.batch_id),
        "code": code,
        "q": code,
        "master_code": big.master_code(5000),
        "case_number": "5000",
    }


def _named(address: str, seeds: Mapping[str, str]) -> str:
    """With the names of parameters in place of ids."""
    for name, value in seeds.items():
        address = address.replace(value, f"{{{name}}}") if len(value) > 8 else address
    return address


@asynccontextmanager
async def _browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        await browser.close()


async def _alternate(
    browser: Browser, site: str, session: str, address: str, rounds: int
) -> tuple[list[float], list[float]]:
    """Milliseconds of the baseline and of the page."""
    sides: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds * 2):
        side = (number + number // 2) % 2
        context = await browser.new_context()
        await context.add_cookies([{"name": SESSION_COOKIE, "value": session, "url": site}])
        page = await context.new_page()
        await page.goto(site + (address if side else BASELINE))
        sides[side].append(await page.evaluate(FIRST_PAINT))
        await context.close()
    return sides
