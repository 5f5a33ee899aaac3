"""reverse-job.js in a browser, over plain http, against an API on a real socket that loses connections and refuses.

The page's clock stands still and is moved by the test; requests are real.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest_asyncio
from playwright.async_api import Page

from endpoint import Received, answer
from process import SECRET, Broom, serving
from qrtrack.domain.identity import Role
from qrtrack.integrations.tokens import sign_token
from static_site import Site
from ticking import HANG_SECONDS

SUBMIT, STATUS = "/api/manufacturer/reverse-job/submit", "/api/manufacturer/reverse-job/status"
ORDER = {"batch_id": "b", "order_id": "o", "exclude_codes": ["SKA000007"]}
OTHER = ORDER | {"exclude_codes": []}
LOST = b""
NOTHING = {"currentJobId": None, "jobStatus": None, "isPolling": False, "isSubmitting": False, "error": None}
PROBLEM = "urn:qrtrack:problem:"


def job(status: str, progress: int = 0, **headers: str) -> bytes:
    return answer(200, json.dumps({"success": True, "job_id": "j1", "status": status, "progress": progress}), **headers)


def submitted(job_id: str = "j1") -> bytes:
    return answer(200, json.dumps({"success": True, "job_id": job_id, "status": "queued", "exclude_count": 1}))


def refusal(status: int, slug: str, **headers: str) -> bytes:
    body = {"success": False, "type": PROBLEM + slug, "detail": "Do this instead.", "status": status}
    return answer(status, json.dumps(body), content_type="application/problem+json", **headers)


@dataclass
class Script:
    """Answers in this order; the last one again and again."""

    submits: list[bytes] = field(default_factory=lambda: [submitted()])
    statuses: list[bytes] = field(default_factory=lambda: [job("running", 5)])

    def __call__(self, request: Received) -> bytes:
        replies = self.submits if request.path == SUBMIT else self.statuses
        return replies.pop(0) if len(replies) > 1 else replies[0]


class Tab:
    """A tab of the browser with the module in it."""

    def __init__(self, page: Page, site: Site, complaints: list[str]) -> None:
        self.page, self.site, self.complaints = page, site, complaints

    async def open(self, options: str = "{ token: 't0ken' }", path: str = "/") -> None:
        await self.page.goto(self.site.plant_url + path)
        await self.start(options)

    async def start(self, options: str = "{ token: 't0ken' }") -> None:
        await self.page.evaluate(
            f"async () => {{ globalThis.tests = await import('/tests/reverse_jobs.js'); tests.start({options}) }}"
        )

    async def reload(self) -> None:
        await self.page.reload()
        await self.start()

    async def press(self, order: dict[str, Any], name: str = "outcome") -> None:
        await self.page.evaluate("([name, order]) => tests.press(name, order)", [name, order])

    async def until(self, condition: str) -> None:
        """`Page.wait_for_function` is of no use here: it evaluates texts, which the policy forbids."""
        async with asyncio.timeout(HANG_SECONDS):
            while not await self.page.evaluate(f"Boolean({condition})"):
                assert self.complaints == []
                await asyncio.sleep(0.01)

    async def calls(self, path: str = SUBMIT) -> list[dict[str, Any]]:
        calls: list[dict[str, Any]] = await self.page.evaluate("calls")
        return [call for call in calls if call["path"] == path]

    async def pauses(self, path: str = SUBMIT) -> list[float]:
        """Seconds between the requests."""
        times = [call["at"] for call in await self.calls(path)]
        return [(after - before) / 1000 for before, after in pairwise(times)]

    async def look(self, what: str) -> Any:
        return await self.page.evaluate(what)

    async def pass_time(self, milliseconds: int) -> None:
        await self.page.clock.run_for(milliseconds)


@pytest_asyncio.fixture(loop_scope="session")
async def tab(page: Page, site: Site, complaints: list[str]) -> Tab:
    site.files["/tests/"] = Path(__file__).parent
    site.api = Script()
    await page.clock.install(time=0)
    await page.clock.pause_at(1000)
    return Tab(page, site, complaints)


async def test_a_job_is_polled_every_three_seconds_until_it_has_ended(tab: Tab) -> None:
    tab.site.api = Script(statuses=[job("queued"), job("running", 57), job("completed", 100)])
    await tab.open()
    await tab.press(ORDER)
    for progress in (0, 57, 100):
        await tab.until(f"job.state.jobStatus?.progress === {progress}")
        assert await tab.look("job.state.isPolling") is (progress < 100)
        await tab.pass_time(3000)
    await tab.pass_time(60_000)
    assert await tab.pauses(STATUS) == [3, 3]
    assert await tab.look("[outcome, job.state.currentJobId, job.state.error]") == ["j1", "j1", None]


async def test_retry_after_is_obeyed(tab: Tab) -> None:
    tab.site.api = Script(
        submits=[refusal(503, "too-much-work", retry_after="7"), submitted()],
        statuses=[job("running", 5, retry_after="9"), refusal(429, "slow", retry_after="11"), job("completed", 100)],
    )
    await tab.open()
    await tab.press(ORDER)
    await tab.until("job.state.error?.retryAfter === 7")
    await tab.pass_time(7000)
    await tab.until("job.state.jobStatus?.progress === 5")
    await tab.pass_time(9000)
    await tab.until("job.state.error?.retryAfter === 11")
    await tab.pass_time(11_000)
    await tab.until("job.state.jobStatus?.progress === 100")
    assert await tab.pauses(SUBMIT) == [7]
    assert await tab.pauses(STATUS) == [9, 11]


async def test_a_lost_press_is_sent_again_with_its_key(tab: Tab) -> None:
    portal = answer(200, "<h1>Sign in to the guest network</h1>", content_type="text/html")
    tab.site.api = Script(submits=[LOST, LOST, portal, refusal(409, "idempotency-key-in-use"), submitted()])
    await tab.open()
    await tab.press(ORDER)
    for count, seconds in enumerate((1, 2, 4, 8), start=1):
        await tab.until(f"errors.length === {count}")
        assert await tab.look("[job.state.isSubmitting, job.state.currentJobId]") == [True, None]
        await tab.pass_time(seconds * 1000)
    await tab.until("outcome === 'j1'")
    assert await tab.pauses() == [1, 2, 4, 8]
    keys = {request.headers["idempotency-key"] for request in tab.site.requests if request.path == SUBMIT}
    assert [len(key) for key in keys] == [32]
    assert await tab.look("[job.state.isSubmitting, job.state.error]") == [False, None]


async def test_a_second_press_does_not_leave(tab: Tab) -> None:
    tab.site.api = Script(submits=[LOST, submitted()])
    await tab.open()
    await tab.press(ORDER)
    await tab.press(ORDER, "again")
    await tab.press(OTHER, "other")
    await tab.until("other === 'busy' && job.state.error")
    await tab.pass_time(1000)
    await tab.until("outcome === 'j1' && again === 'j1'")
    assert len(await tab.calls()) == 2


async def test_reloads_lose_nothing(tab: Tab) -> None:
    script = tab.site.api = Script(submits=[LOST])
    await tab.open()
    await tab.press(ORDER)
    await tab.until("job.state.error")
    [first] = await tab.calls()
    script.submits = [submitted()]
    await tab.reload()
    await tab.until("job.state.jobStatus?.progress === 5")
    [again] = await tab.calls()
    assert again["key"] == first["key"]
    await tab.reload()
    await tab.until("job.state.jobStatus?.progress === 5")
    assert await tab.calls() == []
    script.statuses = [job("completed", 100)]
    await tab.reload()
    await tab.until("job.state.jobStatus?.status === 'completed'")
    assert await tab.look("job.state.isPolling") is False


async def test_a_refusal_is_an_answer_and_ends_the_press(tab: Tab) -> None:
    tab.site.api = Script(submits=[refusal(422, "unknown-exclude-codes"), submitted("j2")])
    await tab.open()
    await tab.press(ORDER)
    await tab.until(f"outcome === '{PROBLEM}unknown-exclude-codes'")
    assert await tab.look("[job.state.error.message, job.state.error.problem.status]") == ["Do this instead.", 422]
    assert await tab.look("job.state.isSubmitting") is False
    await tab.press(ORDER)
    await tab.until("outcome === 'j2'")
    one, two = await tab.calls()
    assert one["key"] != two["key"]


async def test_after_an_expired_token_the_press_goes_on_with_the_next_one(tab: Tab) -> None:
    script = tab.site.api = Script(submits=[LOST, refusal(401, "unauthenticated")])
    await tab.open()
    await tab.press(ORDER)
    await tab.until("job.state.error")
    await tab.pass_time(1000)
    await tab.until("job.state.error.status === 401 && !job.state.isSubmitting")
    script.submits = [submitted()]
    await tab.reload()
    await tab.until("job.state.jobStatus")
    keys = [request.headers["idempotency-key"] for request in tab.site.requests if request.path == SUBMIT]
    assert (len(keys), len(set(keys))) == (3, 1)


async def test_after_a_defect_nothing_is_sent_until_the_next_press(tab: Tab) -> None:
    tab.site.api = Script(submits=[refusal(500, "internal-error"), submitted()])
    await tab.open()
    await tab.press(ORDER)
    await tab.until("job.state.error?.status === 500")
    await tab.reload()
    await tab.pass_time(60_000)
    assert await tab.calls() == []
    await tab.press(ORDER)
    await tab.until("outcome === 'j1'")
    keys = [request.headers["idempotency-key"] for request in tab.site.requests if request.path == SUBMIT]
    assert (len(keys), len(set(keys))) == (2, 1)


async def test_polling_rests_in_a_hidden_tab(tab: Tab) -> None:
    await tab.open()
    await tab.press(ORDER)
    await tab.until("job.state.jobStatus")
    await tab.look("tests.hide(true)")
    assert await tab.look("job.state.isPolling") is False
    await tab.pass_time(60_000)
    assert len(await tab.calls(STATUS)) == 1
    await tab.look("{ tests.hide(false); job.fetchJobStatus() }")
    assert await tab.look("job.state.isPolling") is True
    assert len(await tab.calls(STATUS)) == 2


async def test_polling_outlives_lost_connections_and_ends_at_a_refusal(tab: Tab) -> None:
    tab.site.api = Script(statuses=[LOST, LOST, LOST, LOST, LOST, job("running", 5), refusal(404, "not-found")])
    await tab.open()
    await tab.press(ORDER)
    for count, seconds in enumerate((3, 6, 12, 24, 30), start=1):
        await tab.until(f"errors.length === {count}")
        await tab.pass_time(seconds * 1000)
    await tab.until("job.state.jobStatus")
    await tab.pass_time(3000)
    await tab.until("job.state.error?.status === 404")
    assert await tab.pauses(STATUS) == [3, 6, 12, 24, 30, 3]
    await tab.pass_time(600_000)
    assert len(await tab.calls(STATUS)) == 7
    assert await tab.look("[job.state.isPolling, job.state.currentJobId]") == [False, "j1"]


async def test_a_mistake_in_a_listener_does_not_end_the_polling(tab: Tab) -> None:
    await tab.open()
    await tab.look("tests.subscribeWrongly()")
    await tab.look("{ job.fetchJobStatus('j1') }")
    while len(await tab.calls(STATUS)) < 3:
        await tab.pass_time(3000)
    await tab.page.goto("about:blank")
    assert set(tab.complaints) == {"Uncaught a mistake of the page"}
    tab.complaints.clear()


async def test_a_cleared_job_does_not_come_back(tab: Tab) -> None:
    script = tab.site.api = Script(submits=[LOST])
    await tab.open()
    await tab.press(ORDER)
    await tab.until("job.state.error")
    await tab.look("job.clearReverseJob()")
    script.submits = [submitted()]
    await tab.pass_time(60_000)
    await tab.until("outcome === 'network'")
    assert len(await tab.calls()) == 1
    assert await tab.look("[job.state, sessionStorage.length]") == [NOTHING, 0]
    await tab.press(OTHER)
    await tab.until("job.state.jobStatus")
    await tab.look("{ job.fetchJobStatus(); job.clearReverseJob() }")
    await tab.pass_time(60_000)
    assert await tab.look("[job.state, sessionStorage.length]") == [NOTHING, 0]


async def test_the_token_is_asked_for_each_time_and_stored_nowhere(tab: Tab) -> None:
    await tab.open("{ token: async () => `t0ken-${calls.length}` }")
    await tab.press(ORDER)
    await tab.until("job.state.jobStatus")
    assert [call["authorization"] for call in await tab.look("calls")] == ["Bearer t0ken-0", "Bearer t0ken-1"]
    assert {call["credentials"] for call in await tab.look("calls")} == {"omit"}
    stored = await tab.look("JSON.stringify([{ ...sessionStorage }, { ...localStorage }, document.cookie])")
    assert "j1" in stored
    assert "t0ken" not in stored


async def test_without_a_token_the_browser_sends_its_session(tab: Tab) -> None:
    await tab.page.context.add_cookies([{"name": "session", "value": "s1", "url": tab.site.plant_url}])
    await tab.open("{ token: null }")
    await tab.press(ORDER)
    await tab.until("job.state.jobStatus")
    assert {request.headers["cookie"] for request in tab.site.requests} == {"session=s1"}
    assert not any("authorization" in request.headers for request in tab.site.requests)


async def test_a_closed_storage_costs_only_the_reload(tab: Tab) -> None:
    closed = "Object.defineProperty(window, 'sessionStorage', { get() { throw new DOMException('denied') } })"
    await tab.page.add_init_script(closed)
    await tab.open()
    await tab.press(ORDER)
    await tab.until("job.state.jobStatus")
    await tab.reload()
    assert await tab.look("job.state.currentJobId") is None


@dataclass(frozen=True)
class Service:
    """A running service that pages of the site's origin may call, and an organisation of the test's own."""

    url: str
    organisation: UUID = field(default_factory=uuid4)

    @property
    def token(self) -> str:
        return sign_token(SECRET, organisation_id=self.organisation, user_id="u1", roles=[Role.MANAGER], hours=1)

    def client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(
            base_url=self.url, headers={"Authorization": f"Bearer {self.token}"}, trust_env=False, timeout=60
        )

    async def order(self) -> dict[str, Any]:
        """A batch that may be prepared."""
        order = {"order_id": str(uuid4()), "product_name": "Gold 1 g", "quantity": 100, "serial_prefix": "SKA"}
        async with self.client() as client:
            batch_id = (await client.post("/api/manufacturer/batches", json=order)).json()["batch_id"]
            while not (await client.get(f"/api/manufacturer/batches/{batch_id}")).json()["batch"]["codes_created_at"]:
                await asyncio.sleep(0.05)
        return {"batch_id": batch_id, "order_id": order["order_id"], "exclude_codes": ["ska000007, SKA000013"]}

    async def jobs(self) -> list[dict[str, Any]]:
        async with self.client() as client:
            jobs: list[dict[str, Any]] = (await client.get("/api/manufacturer/reverse-job/jobs")).json()["jobs"]
        return jobs


@pytest_asyncio.fixture(loop_scope="session")
async def service(migrated_url: str, broom: Broom, site: Site, tmp_path: Path) -> AsyncIterator[Service]:
    with serving(tmp_path, DATABASE_URL=migrated_url, CORS_ALLOWED_ORIGINS=site.plant_url) as url:
        yield Service(url)
    await broom.sweep()


async def test_a_page_of_another_origin_follows_a_job_of_the_service(tab: Tab, service: Service) -> None:
    order = await service.order()
    await tab.open(f"{{ baseUrl: '{service.url}', token: '{service.token}' }}", "/elsewhere")
    await tab.press(order | {"exclude_codes": ["SKA000999"]})
    await tab.until(f"outcome === '{PROBLEM}unknown-exclude-codes'")
    assert await tab.look("job.state.error.problem.codes") == ["SKA000999"]
    await tab.press(order)
    await tab.until("job.state.jobStatus")
    while await tab.look("job.state.isPolling"):
        await tab.pass_time(3000)
    assert await tab.look("job.state.jobStatus.result_summary.prepared") == 98
    assert await tab.look("job.state.currentJobId") == (await service.jobs())[0]["job_id"]


async def test_a_lost_answer_of_the_service_leaves_one_job(tab: Tab, service: Service) -> None:
    answers: list[httpx2.Response] = []

    async def pass_on(request: Received) -> bytes:
        names = ("authorization", "content-type", "idempotency-key")
        headers = {name: request.headers[name] for name in names if name in request.headers}
        async with httpx2.AsyncClient(base_url=service.url, trust_env=False, timeout=60) as client:
            method = "POST" if request.body else "GET"
            found = await client.request(method, request.path, headers=headers, content=request.body)
        answers.append(found)
        return LOST if len(answers) == 1 else answer(found.status_code, found.text)

    tab.site.api = pass_on
    order = await service.order()
    await tab.open(f"{{ token: '{service.token}' }}")
    await tab.press(order)
    await tab.until("job.state.error")
    await tab.pass_time(1000)
    await tab.until("outcome")
    assert [job["job_id"] for job in await service.jobs()] == [await tab.look("outcome")]
    assert answers[1].headers["Idempotency-Replayed"] == "true"
