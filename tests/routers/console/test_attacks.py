"""The console as strangers, other organisations and operators attack it: no input makes it fail, nothing is run."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Final
from uuid import uuid4

import httpx2
from fastapi.routing import APIRoute
from sqlalchemy.exc import DBAPIError

from console.every_page import addresses
from console.full_plant import fill_plant
from plant import Plant
from qrtrack.console.routing import ROUTERS
from qrtrack.domain.identity import Caller, Role
from qrtrack.main import ROUTERS as MAIN_ROUTERS
from qrtrack.services.console_sessions import find_session, make_sign_in_code
from routers.console.conftest import Visit

ORIGIN: Final = {"Origin": "http://test"}
HOSTILE: Final = (
    "", "\0", "-1", "0", "99999999999999999999", "9" * 5000, "1e999", "nan", "2026-13-45", "../../etc/passwd",
    "'\"><script>alert(1)</script>", "{0.__class__}", "%", "\ud7ff\u202e", "00000000-0000-0000-0000-000000000000",
    "A" * 40_000,
)  # fmt: skip
SCRIPT: Final = "'\"><script>alert(1)</script>"
FORMAT_FIELDS: Final = (
    "margins=1&margins.left=1", "margins.left=1&margins=1", "kind=sheet&kind.x=1", "grid.columns=1&grid.columns=2",
    "kind=roll&width=1e308&height=1&across=100000", "kind=roll&width=nan&height=inf", "width=" + "9" * 5000,
    "kind=sheet&width=0.0001&height=0.0001&grid.columns=100000&grid.rows=100000&pitch.x=0.0001&pitch.y=0.0001",
    "kind=sheet&page.width=1e300&page.height=1e300&width=1&height=1&grid.columns=9999999&grid.rows=9999999",
)  # fmt: skip


def pages() -> Iterator[APIRoute]:
    for router in ROUTERS:
        for route in router.routes:
            if isinstance(route, APIRoute) and "GET" in (route.methods or ()) and "static" not in route.path:
                yield route


def hostile_addresses(seeds: Mapping[str, str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Each parameter of each page filled with each value that nobody expects; its path is right or hostile."""
    for route in pages():
        path = _filled(route.path, seeds)
        names = {field.alias for field in route.dependant.query_params} | {
            name for field in route.dependant.query_params
            for name in getattr(field.field_info.annotation, "model_fields", {})
        }  # fmt: skip
        for value in HOSTILE:
            for name in sorted(names):
                yield path, {name: value}
            if "{" in route.path and value:
                yield re.sub(r"\{\w+\}", httpx2.URL("/", params={"x": value}).query.decode()[2:][:8000], route.path), {}


def _filled(path: str, seeds: Mapping[str, str]) -> str:
    section = path.split("/")[2] if path.count("/") > 1 else ""
    return re.sub(r"\{(\w+)\}", lambda name: seeds.get(f"{section}.{name[1]}", seeds.get(name[1], "x")), path)


async def test_no_value_in_an_address_makes_a_page_fail(plant: Plant, visit: Visit) -> None:
    visitor = await visit(plant.caller)
    seeds = await fill_plant(plant)
    failed = []
    for path, query in hostile_addresses(seeds):
        answer = await visitor.get(path, params=query)
        if answer.status_code >= 500 or "<script>alert" in answer.text:
            failed.append((path[:80], {name: value[:40] for name, value in query.items()}, answer.status_code))
    for fields in FORMAT_FIELDS:
        answer = await visitor.get(f"/console/settings/format-picture?{fields}")
        if answer.status_code >= 500 or len(answer.text) > 1_000_000:
            failed.append(("format-picture", {fields[:90]: ""}, answer.status_code))
    assert not failed, "\n".join(str(one) for one in failed)


async def test_forms_take_no_characters_that_a_database_or_the_line_refuses(plant: Plant, visit: Visit) -> None:
    visitor = await visit(plant.caller)
    for path, form in (("station", {"station": "Line\0 1"}), ("station", {"station": "\u202eLine"}),
                       ("station", {"station": "A" * 201}), ("settings/sign-out", {"user": "\0"}),
                       ("language", {"name": "\0" * 11})):  # fmt: skip
        answer = await visitor.post(f"/console/{path}", data=form, headers=ORIGIN)
        assert answer.status_code == 422, path
        assert "This cannot be read" in answer.text


async def test_a_session_that_ends_on_a_long_address_leads_to_the_sign_in(visit: Visit, plant: Plant) -> None:
    visitor = await visit(plant.caller)
    visitor.cookies.set("qrtrack_session", "of yesterday")
    long = "/console/search?q=" + "A" * 5000
    led = await visitor.get(long)
    assert led.headers["Location"] == "/console/sign-in?ended=1&next=%2Fconsole"
    # Scripts lead there themselves.
    page = await visitor.get("/console/sign-in", params={"next": long})
    assert page.status_code == 200
    assert 'name="next" value="/console"' in page.text
    part = await visitor.get(
        "/console/overview/now", headers={"HX-Request": "true", "HX-Current-URL": f"http://test{long}"}
    )
    assert part.headers["HX-Redirect"] == "/console/sign-in?ended=1&next=%2Fconsole"


async def test_nothing_of_another_organisation_is_on_any_page(plant: Plant, visit: Visit) -> None:
    seeds = await fill_plant(plant)
    stranger = await visit(Caller("stranger", uuid4(), frozenset({Role.ADMIN})))
    secrets = (plant.caller.user_id, str(plant.caller.organisation_id), "Yogyakarta", "Zebra", "Gold 10 g")
    for address in addresses(seeds):
        answer = await stranger.get(address)
        assert not [secret for secret in secrets if secret in answer.text], address
        names_a_thing = re.search(r"[0-9a-f]{8}-|/\d+", address.partition("?")[0]) or "?batch=" in address
        if address.startswith("/console/packing/recent?"):
            assert "<tr" not in answer.text
        elif names_a_thing or address.startswith("/console/trace?"):
            assert answer.status_code == 404, address


async def test_each_role_opens_only_its_pages(plant: Plant, visit: Visit) -> None:
    closed = {
        Role.OPERATOR: {"webhooks", "settlements", "settings", "exports", "import"},
        Role.FINANCE: {"batches", "packing", "jobs", "verification", "search", "trace", "webhooks", "settings",
                       "prints", "label-formats", "scanner-test"},
        Role.MANAGER: {"webhooks", "settlements", "health"},
    }  # fmt: skip
    for role, forbidden in closed.items():
        visitor = await visit(Caller(role, plant.caller.organisation_id, frozenset({role})))
        for route in pages():
            path = re.sub(r"\{\w*batch_id\}|\{job_id\}|\{printer_id\}", str(uuid4()), route.path)
            path = re.sub(r"\{\w+\}", "1", path)
            status = (await visitor.get(path)).status_code
            is_closed = bool(forbidden & set(route.path.split("/")))
            assert (status == 403) == is_closed, (role, route.path, status)


async def test_without_a_session_every_page_and_part_leads_to_the_sign_in(plant: Plant, visit: Visit) -> None:
    visitor = await visit(plant.caller)
    visitor.cookies.clear()
    for route in pages():
        path = re.sub(r"\{\w+\}", "1", route.path)
        if path == "/console/sign-in":
            continue
        whole, part = await visitor.get(path), await visitor.get(path, headers={"HX-Request": "true"})
        assert whole.status_code in (303, 422), path
        assert part.status_code in (204, 422), path
        assert "Location" not in whole.headers or whole.headers["Location"].startswith("/console/sign-in?next=")


async def test_a_page_of_another_origin_changes_nothing_with_the_cookie(plant: Plant, visit: Visit) -> None:
    visitor = await visit(plant.caller)
    changing = [
        (method, route.path) for route in (route for router in MAIN_ROUTERS for route in router.routes)
        if isinstance(route, APIRoute)
        for method in (route.methods or set()) - {"GET", "HEAD", "OPTIONS"}
    ]  # fmt: skip
    assert len(changing) > 50
    for method, path in changing:
        address = re.sub(r"\{\w+\}", str(uuid4()), path)
        answer = await visitor.request(method, address, headers={"Origin": "https://evil.example"})
        assert answer.json()["type"] == "urn:qrtrack:problem:origin-refused", (method, path)
        for headers in ({"Origin": "null"}, {}) if path.startswith("/api/manufacturer/batches") else ():
            answer = await visitor.request(method, address, headers=headers, json={})
            assert answer.status_code == 403, (method, path)


async def test_signing_in_again_ends_the_session_before(plant: Plant, visit: Visit) -> None:
    visitor = await visit(plant.caller)
    before = visitor.cookies["qrtrack_session"]
    code = await make_sign_in_code(plant.runtime.database, plant.caller)
    answer = await visitor.post("/console/sign-in", data={"code": code}, headers=ORIGIN)
    assert answer.status_code == 303
    assert before not in answer.headers["Set-Cookie"]
    assert await find_session(plant.runtime.database, before) is None


async def test_stored_scripts_are_shown_as_text(plant: Plant, visit: Visit) -> None:
    """Every text column that takes it holds a script: what a webhook, a consumer or a colleague may have sent."""
    seeds = await fill_plant(plant)
    columns = await plant.sql(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
        " AND data_type = 'text' AND table_name IN (SELECT table_name FROM information_schema.columns"
        " WHERE column_name = 'manufacturer_org_id') AND table_name NOT LIKE 'console%'"
    )
    taken = set()
    for table, column in columns:
        change = (
            f"UPDATE {table} SET {column} = CAST(:script AS text) || {column}"
            f" WHERE manufacturer_org_id = :org AND {column} IS NOT NULL"
        )
        with suppress(DBAPIError):
            await plant.sql(change, script=SCRIPT, org=plant.caller.organisation_id)
            taken.add(f"{table}.{column}")
    assert {
        "qr_batches.product_name", "webhook_queue.payload", "webhook_queue.error", "printers.name",
        "print_jobs.error_message", "verification_reports.message", "qr_reverse_job_logs.message",
        "qr_master_codes.station", "sync_batch_progress.name",
    } <= taken  # fmt: skip
    visitor = await visit(plant.caller)
    shown = 0
    found = addresses(seeds)
    for address in found + [re.sub(r"(\?|$)", r"/now\1", one, count=1) for one in found]:
        answer = await visitor.get(address)
        assert answer.status_code < 500, address
        assert "<script>alert" not in answer.text, address
        assert "'\">" not in answer.text, address
        shown += "script&gt;alert" in answer.text
    assert shown > 20
