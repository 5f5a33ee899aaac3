"""Who waits for a change: how often it looks, how many may, and until when."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import httpx2
from fastapi import FastAPI

from plant import Plant
from qrtrack.domain.identity import Caller
from qrtrack.limits.long_polls import IN_ALL, PER_CALLER, LongPolls
from qrtrack.routers.waiting import pause_after
from qrtrack.runtime import Runtime
from qrtrack.schemas.base import LONGEST_WAIT
from ticking import HANG_SECONDS

SignIn = Callable[[Caller], httpx2.AsyncClient]
STATUS = "/api/manufacturer/reverse-job/status"


def test_a_long_poll_looks_less_often_the_longer_it_waits() -> None:
    waited, looks = 0.0, 0
    while waited < 30:
        waited += pause_after(waited)
        looks += 1
    assert pause_after(0) == 0.25
    assert pause_after(30) == 1
    assert looks < 45, "a third of what looking every quarter of a second would be"


def test_there_are_so_many_places_in_all_and_for_one_caller() -> None:
    long_polls = LongPolls()
    places = [long_polls.place(number // PER_CALLER) for number in range(IN_ALL)]
    assert all(place.__enter__() for place in places)
    for caller in (0, "somebody else"):
        with long_polls.place(caller) as has_place:
            assert not has_place
    places.pop().__exit__(None, None, None)
    for caller, may in ((0, False), ("somebody else", True)):
        with long_polls.place(caller) as has_place:
            assert has_place is may


async def test_a_caller_with_too_many_long_polls_is_answered_at_once_with_retry_after(
    sign_in: SignIn, plant: Plant, runtime: Runtime
) -> None:
    job_id = await plant.submit(await plant.batch(5))

    def poll(caller: Caller, seconds: float) -> asyncio.Task[httpx2.Response]:
        return asyncio.create_task(sign_in(caller).get(f"{STATUS}?job_id={job_id}&wait={seconds}"))

    colleague = replace(plant.caller, user_id="a colleague")
    waiting = [poll(plant.caller, LONGEST_WAIT) for _ in range(PER_CALLER)]
    await until(lambda: runtime.long_polls.waiting == PER_CALLER)
    told = await asyncio.wait_for(poll(plant.caller, LONGEST_WAIT), LONGEST_WAIT)
    assert (told.status_code, told.json()["status"], told.headers["Retry-After"]) == (200, "queued", "3")
    unchanged = {"If-None-Match": told.headers["ETag"]}
    again = await sign_in(plant.caller).get(f"{STATUS}?job_id={job_id}&wait=20", headers=unchanged)
    assert (again.status_code, again.headers["Retry-After"]) == (304, "3")
    other = await poll(colleague, 0.3)
    assert (other.status_code, "Retry-After" in other.headers) == (200, False)
    assert not any(each.done() for each in waiting)
    runtime.stopping.set()
    await asyncio.gather(*waiting)
    assert runtime.long_polls.waiting == 0


async def test_a_long_poll_ends_when_its_client_has_gone(
    app: FastAPI, sign_in: SignIn, plant: Plant, runtime: Runtime
) -> None:
    job_id = await plant.submit(await plant.batch(5))
    gone = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(_message: Any) -> None: ...

    scope = scope_of(sign_in(plant.caller), job_id) | {"state": {"runtime": runtime}}
    request = asyncio.create_task(app(scope, receive, send))
    await until(lambda: runtime.long_polls.waiting == 1)
    gone.set()
    await asyncio.wait_for(request, LONGEST_WAIT)
    assert runtime.long_polls.waiting == 0


def scope_of(client: httpx2.AsyncClient, job_id: UUID) -> dict[str, Any]:
    return {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": STATUS, "raw_path": STATUS.encode(), "root_path": "",
        "query_string": f"job_id={job_id}&wait={LONGEST_WAIT}".encode(),
        "headers": [(b"authorization", client.headers["Authorization"].encode())],
        "client": ("127.0.0.1", 1), "server": ("test", 80),
    }  # fmt: skip


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(HANG_SECONDS):
        while not is_so():
            await asyncio.sleep(0.01)
