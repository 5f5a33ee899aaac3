"""The packing page without a browser: labels, undo, jobs side by side, what a role may do, and what is not counted."""

import re
from datetime import timedelta

import httpx2
import pytest
from fastapi import FastAPI

from plant import MadeBatch, Plant
from printer import StandIn, added
from qrtrack.console.views import packing
from qrtrack.domain.identity import Caller, Role
from qrtrack.runtime import Runtime
from qrtrack.services.console_sessions import open_session
from routers.conftest import ClientOf

STATION = "line-1"


@pytest.fixture
async def visitor(app: FastAPI, runtime: Runtime, client_of: ClientOf, plant: Plant) -> httpx2.AsyncClient:
    """A manager who is signed in at the station."""
    return await _signed_in(app, runtime, client_of, plant.caller)


async def _signed_in(app: FastAPI, runtime: Runtime, client_of: ClientOf, caller: Caller) -> httpx2.AsyncClient:
    client = client_of(app, runtime)
    client.cookies.set("qrtrack_session", await open_session(runtime.database, caller, station=STATION, hours=1))
    return client


async def recent(visitor: httpx2.AsyncClient, batch: MadeBatch) -> str:
    answer = await visitor.get(f"/console/packing/recent?batch={batch.batch_id}")
    assert answer.status_code == 200
    return answer.text


async def queue(visitor: httpx2.AsyncClient, batch: MadeBatch) -> str:
    answer = await visitor.get(f"/console/packing/queue?batch={batch.batch_id}")
    assert answer.status_code == 200
    return answer.text


def label_states(page: str) -> list[str]:
    return re.findall(r'data-label-state="(\w+)"', page)


ENDS = {
    "completed": ({}, "has printed the label of case 1"),
    "delayed": ({"paper_out": True}, "It is printed by itself when the printer is ready"),
    "unknown": ({"breaks_after": 100}, "was the label of case 1 printed?"),
}


@pytest.mark.parametrize("state", ENDS)
async def test_the_label_of_a_packed_case_is_followed_to_its_end(
    visitor: httpx2.AsyncClient, plant: Plant, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    fault, words = ENDS[state]
    async with StandIn(**fault).on() as printer:  # type: ignore[arg-type]
        await added(plant, printer, stations=[STATION], name="Zebra 1")
        batch = await plant.prepared(2, units_per_case=2)
        await plant.pack(batch, 0, station=STATION)
        assert label_states(await recent(visitor, batch)) == ["queued"]
        await plant.work("print_job")
    shown = await recent(visitor, batch)
    assert label_states(shown) == [state]
    assert words in shown
    assert "Zebra 1" in shown
    for press in ('/print"', '/confirm"'):
        assert (press in shown) is (state == "unknown"), "only a person can tell whether it was printed"


async def test_without_a_printer_no_label_is_spoken_of(visitor: httpx2.AsyncClient, plant: Plant) -> None:
    batch = await plant.prepared(2, units_per_case=2)
    await plant.pack(batch, 0, station=STATION)
    shown = await recent(visitor, batch)
    assert label_states(shown) == []
    assert "Label" not in shown


async def test_undo_is_offered_for_ten_minutes_and_the_right_case_for_ever(
    visitor: httpx2.AsyncClient, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = await plant.prepared(2, units_per_case=2)
    await plant.pack(batch, 0, station=STATION)
    assert "data-undo" in await recent(visitor, batch)
    assert timedelta(minutes=10) == packing.UNDO
    monkeypatch.setattr(packing, "UNDO", timedelta(0))
    shown = await recent(visitor, batch)
    assert "data-undo" not in shown
    assert "data-move" in shown
    page = (await visitor.get(f"/console/packing?batch={batch.batch_id}")).text
    [part] = re.findall(r'<section class="card" id="recent"[^>]*>', page)
    assert "tick from:body" in part, "the page that stands there asks again"


async def test_my_last_cases_are_ten_of_mine_at_this_station(visitor: httpx2.AsyncClient, plant: Plant) -> None:
    batch = await plant.prepared(26, units_per_case=2)
    await plant.pack(batch, 0, station="line-2")
    for case in range(1, 12):
        await plant.pack(batch, case, station=STATION)
    shown = await recent(visitor, batch)
    assert re.findall(r"<strong>(\d+)</strong>", shown) == [str(number) for number in range(12, 2, -1)]


async def test_jobs_of_this_batch_and_of_others_stand_side_by_side(
    app: FastAPI, runtime: Runtime, client_of: ClientOf, visitor: httpx2.AsyncClient, plant: Plant
) -> None:
    mine, other = [await plant.batch(4, units_per_case=2) for _ in range(2)]
    for batch in (mine, other):
        await plant.submit(batch)
    await plant.sql(
        "UPDATE qr_reverse_jobs SET status = 'running', lease_token = gen_random_uuid(), lease_expires_at = now() +"
        " interval '1 hour', started_at = now(), attempts = 1 WHERE batch_id = :id",
        id=other.batch_id,
    )
    shown = await queue(visitor, mine)
    assert f"/console/packing?batch={other.batch_id}" in shown
    assert "/api/manufacturer/reverse-job/cancel" in shown
    operator = Caller("an operator", plant.caller.organisation_id, frozenset({Role.OPERATOR}))
    theirs = await queue(await _signed_in(app, runtime, client_of, operator), mine)
    assert "/api/manufacturer/reverse-job/cancel" not in theirs


async def test_a_long_queue_is_not_counted_to_its_end(visitor: httpx2.AsyncClient, plant: Plant) -> None:
    batch = await plant.prepared(10_001)
    assert '<dd id="waiting">10,000+</dd>' in await queue(visitor, batch)
    assert "<dd>10,000+</dd>" in (await visitor.get(f"/console/batches/{batch.batch_id}/now")).text
    visitor.cookies.set("qrtrack_language", "id")
    assert '<dd id="waiting">10.000+</dd>' in await queue(visitor, batch)


async def test_parts_of_a_batch_of_another_organisation_are_not_there(
    app: FastAPI, runtime: Runtime, client_of: ClientOf, plant: Plant
) -> None:
    batch = await plant.prepared(2, units_per_case=2)
    await plant.pack(batch, 0, station=STATION)
    stranger = Caller(plant.caller.user_id, batch.order_id, frozenset({Role.ADMIN}))
    client = await _signed_in(app, runtime, client_of, stranger)
    answer = await client.get(f"/console/packing/queue?batch={batch.batch_id}")
    assert answer.status_code == 404
    assert "SKA" not in await recent(client, batch)
