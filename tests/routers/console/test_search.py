"""Search and trace without a browser: where a hit leads, what is said without one, and who may change what."""

import html
import json
import re
from typing import Final
from urllib.parse import quote
from uuid import uuid4

import httpx2
import pytest
from fastapi import FastAPI

from plant import BASE_URL, MadeBatch, Plant, ska
from qrtrack.console.language import catalogue
from qrtrack.domain.identity import Caller, Role
from qrtrack.domain.packing.near_codes import near_codes
from qrtrack.domain.packing.states import CaseStatus, CodeStatus
from qrtrack.runtime import Runtime
from qrtrack.schemas.trace_details import TRACE_DETAILS
from routers.conftest import ClientOf
from routers.test_console import ORIGIN, signed_in

GTIN: Final = "04006381333931"
TRACE: Final = "/console/trace?code="


@pytest.fixture
async def visitor(app: FastAPI, runtime: Runtime, client_of: ClientOf, caller: Caller) -> httpx2.AsyncClient:
    """The administrator's browser."""
    return await signed_in(client_of(app, runtime), runtime, caller)


@pytest.fixture
async def batch(plant: Plant) -> MadeBatch:
    batch = await plant.prepared(20, exclude=ska(3), units_per_case=10)
    await plant.pack(batch, 0, station="Line 7")
    return batch


async def led_to(visitor: httpx2.AsyncClient, text: str) -> str:
    answer = await visitor.get(f"/console/search?q={quote(text, safe='')}")
    assert answer.status_code == 303, answer.text
    return str(answer.headers["Location"])


async def page_of(visitor: httpx2.AsyncClient, address: str) -> str:
    answer = await visitor.get(address)
    assert answer.status_code == 200
    return answer.text


@pytest.mark.parametrize(
    "scan",
    [
        "SKA000005", "ska000005", "sKA000005", "]C0SKA000005\r\n", "]Q1{base}/q/{uniq_code}/SKA000005\r",
        "{upper}/Q/{uniq_code}/SKA000005", "{base}/q/{uniq_code}/SKA000005\t",
    ],
)  # fmt: skip
async def test_a_scan_of_a_unit_leads_to_its_trace(visitor: httpx2.AsyncClient, batch: MadeBatch, scan: str) -> None:
    text = scan.format(base=BASE_URL, upper=BASE_URL.upper(), uniq_code=batch.uniq_code)
    assert await led_to(visitor, text) == f"{TRACE}SKA000005"


async def test_a_digital_link_leads_to_the_unit(visitor: httpx2.AsyncClient, plant: Plant) -> None:
    await plant.batch(5, gtin=GTIN, lot="L1")
    assert await led_to(visitor, f"https://id.example/01/{GTIN}/10/L1/21/SKA000002?17=271231") == f"{TRACE}SKA000002"


async def test_each_kind_of_thing_leads_to_its_page(
    visitor: httpx2.AsyncClient, plant: Plant, batch: MadeBatch
) -> None:
    job_id = await plant.submit(batch)
    label_job_id = await plant.label(batch, first_code=ska(1)[0], last_code=ska(2)[0])
    for text, address in {
        batch.master_codes[1]: f"{TRACE}{batch.master_codes[1]}",
        str(job_id): f"/console/jobs/{job_id}",
        str(label_job_id): f"/console/batches/{batch.batch_id}",
        batch.uniq_code.lower(): f"/console/batches/{batch.batch_id}",
        "gold": f"/console/batches/{batch.batch_id}",
    }.items():
        assert await led_to(visitor, text) == address
        assert (await visitor.get(address)).status_code == 200


async def test_several_hits_are_listed_with_where_they_are(
    visitor: httpx2.AsyncClient, plant: Plant, batch: MadeBatch
) -> None:
    other = await plant.order(10, product_name="Golden soap")
    page = await page_of(visitor, "/console/search?q=gold")
    for batch_id in (batch.batch_id, other.batch_id):
        assert f'href="/console/batches/{batch_id}"' in page


async def test_a_symbol_of_another_batch_is_shown_with_a_warning(
    visitor: httpx2.AsyncClient, plant: Plant, batch: MadeBatch
) -> None:
    other = await plant.batch(10)
    page = await page_of(visitor, f"/console/search?q={quote(f'{BASE_URL}/q/{other.uniq_code}/SKA000005')}")
    assert "names another batch" in page
    assert f'href="{TRACE}SKA000005"' in page


@pytest.mark.parametrize("language", ["en", "id"])
async def test_an_unknown_code_gets_what_was_meant_or_what_can_be_searched(
    visitor: httpx2.AsyncClient, batch: MadeBatch, language: str
) -> None:
    visitor.cookies.set("qrtrack_language", language)
    said = catalogue(language)
    for typed, meant in (
        ("SKA0000O5", "SKA000005"),
        ("ska5", "SKA000005"),
        (f"{batch.uniq_code}C1", batch.master_codes[0]),
    ):
        page = await page_of(visitor, f"/console/search?q={typed}")
        assert said["search.near"] in page
        assert f'href="{TRACE}{meant}"' in page
    unknown = await page_of(visitor, "/console/search?q=SKA999999")
    assert said["search.none"] in unknown
    assert said["search.near"] not in unknown
    sscc = await page_of(visitor, "/console/search?q=00095212340000000013")
    assert said["search.hint_logistic-unit"] in sscc
    for nothing in ("", "%0D%0A"):
        assert said["search.start"] in await page_of(visitor, f"/console/search?q={nothing}")


def test_near_codes_have_all_zeros_and_no_letters_for_digits() -> None:
    assert "SKA000015" in near_codes("SKA-OOOOIS")
    assert near_codes("SKA000001") == [], "it is written well already"
    assert near_codes("K7QWZ4MHT2XA-C42") == ["K7QWZ4MHT2XA-C0042"]
    for text in ("", "A", "0000", "\x00", "X" * 1000, "ſka1"):
        assert all(len(code) <= 20 for code in near_codes(text))


async def test_the_trace_of_a_unit_says_where_it_is_and_what_happened(
    visitor: httpx2.AsyncClient, plant: Plant, batch: MadeBatch
) -> None:
    page = await page_of(visitor, f"{TRACE}SKA000005")
    for words in ("Gold 1 g", "packed", batch.master_codes[0], "Line 7", "Packed from the queue", "by you"):
        assert words in page
    excluded = await page_of(visitor, f"{TRACE}SKA000003")
    assert "Excluded as damaged" in excluded
    await plant.unlink(master_code=batch.master_codes[0], reason="<b>Seal</b> broken")
    undone = await page_of(visitor, f"/console/trace/now?code={batch.master_codes[0]}")
    assert "Taken out of the case" in undone
    assert "&lt;b&gt;Seal&lt;/b&gt; broken" in undone


async def test_people_are_named_by_a_short_id_and_in_whole_in_the_title(
    visitor: httpx2.AsyncClient, plant: Plant, batch: MadeBatch, runtime: Runtime
) -> None:
    """Tokens carry an id, and no name."""
    actor = plant.caller.user_id
    colleague = Caller(str(uuid4()), plant.caller.organisation_id, frozenset({Role.ADMIN}))
    await signed_in(visitor, runtime, colleague)
    page = await page_of(visitor, f"{TRACE}SKA000005")
    assert f'<span title="{actor}">by {actor[:8]}…</span> · Line 7' in page
    await signed_in(visitor, runtime, Caller("dewi", plant.caller.organisation_id, frozenset({Role.ADMIN})))
    settings = await page_of(visitor, "/console/settings")
    assert "<summary>you</summary>" in settings
    assert f'<summary>{colleague.user_id[:8]}…</summary><span class="code">{colleague.user_id}</span>' in settings


async def test_the_trace_of_a_case_pages_through_its_units(visitor: httpx2.AsyncClient, plant: Plant) -> None:
    batch = await plant.prepared(250, units_per_case=250)
    await plant.pack(batch)
    address: str | None = f"{TRACE}{batch.master_codes[0]}"
    seen: list[str] = []
    while address:
        page = await page_of(visitor, address)
        seen += [code for code in ska(*range(1, 251)) if f'href="{TRACE}{code}"' in page]
        further = page.partition('id="next-page" href="/console/trace?')[2].partition('"')[0].replace("&amp;", "&")
        address = further and f"/console/trace?{further}"
    assert seen == ska(*range(1, 251))


def offered(page: str) -> dict[str, dict[str, object]]:
    """What the page's buttons and forms send, by their routes."""
    found = re.findall(r"data-path=\"([^\"]+)\" data-body='([^']*)'", page)
    return {path.rpartition("/")[2]: json.loads(html.unescape(body)) for path, body in found}


async def test_managers_may_undo_void_and_readmit_and_operators_are_not_offered_it(
    visitor: httpx2.AsyncClient, runtime: Runtime, plant: Plant, batch: MadeBatch
) -> None:
    await plant.sql("UPDATE qr_master_codes SET packed_at = packed_at - interval '3 hours'")
    addresses = [f"{TRACE}{code}" for code in (batch.master_codes[0], "SKA000005", "SKA000003")]
    case, unit, excluded = [offered(await page_of(visitor, address)) for address in addresses]
    assert (list(case), list(unit), list(excluded)) == (["unlink-from-master"], ["void"], ["readmit", "void"])
    for path, body in {
        "unlink-from-master": {**case["unlink-from-master"], "reason": "Box dropped"},
        "codes/void": {**unit["void"], "reason": "Label torn"},
        "codes/readmit": excluded["readmit"],
    }.items():
        answer = await visitor.post(f"/api/manufacturer/{path}", json=body, headers=ORIGIN)
        assert answer.status_code == 200, answer.text
    assert (await plant.states(batch))[5] == "void"
    for address in addresses[:2]:
        assert offered(await page_of(visitor, address)) == {}, "there is nothing left to do"
    await plant.pack(batch, 1)
    operator = Caller("operator", plant.caller.organisation_id, frozenset({Role.OPERATOR}))
    await signed_in(visitor, runtime, operator)
    for address in (f"{TRACE}{batch.master_codes[1]}", f"{TRACE}SKA000006"):
        assert offered(await page_of(visitor, address)) == {}


async def test_nothing_of_another_organisation_is_found_or_traced(
    visitor: httpx2.AsyncClient, runtime: Runtime, batch: MadeBatch
) -> None:
    await signed_in(visitor, runtime, Caller("stranger", uuid4(), frozenset({Role.ADMIN})))
    for text in ("SKA000005", "ska5", batch.master_codes[0], batch.uniq_code, "gold", str(batch.batch_id)):
        page = await page_of(visitor, f"/console/search?q={text}")
        assert "Nothing was found" in page
        assert "Did you mean" not in page
    for code in ("SKA000005", batch.master_codes[0]):
        assert (await visitor.get(f"{TRACE}{code}")).status_code == 404


async def test_only_people_of_the_packing_line_search(
    visitor: httpx2.AsyncClient, runtime: Runtime, plant: Plant
) -> None:
    assert 'role="search"' in await page_of(visitor, "/console")
    finance = Caller("finance", plant.caller.organisation_id, frozenset({Role.FINANCE}))
    await signed_in(visitor, runtime, finance)
    assert 'role="search"' not in await page_of(visitor, "/console")
    assert (await visitor.get("/console/search?q=gold")).status_code == 403


def test_every_event_and_every_place_of_a_trace_has_words() -> None:
    said = catalogue("en")
    assert {f"event.{action}" for action in TRACE_DETAILS} <= set(said)
    assert {f"state.{status}" for status in (*CodeStatus, *CaseStatus)} <= set(said)
