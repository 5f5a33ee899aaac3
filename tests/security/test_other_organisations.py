"""Whoever calls for another organisation learns nothing on any route: its things answer as if they did not exist."""

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx2
import pytest
import sqlalchemy.event

from accurate import DATABASE
from every_route import API, FOR_MACHINES, FOR_USERS, LABELS, NO_THINGS, PACKING, Route, Things, event_of, things_of
from plant import Plant
from process import SECRET
from qrtrack.domain.akselgate.faults import Fault
from qrtrack.domain.identity import Caller, Role
from qrtrack.models import Table
from qrtrack.settings import Settings
from routers.test_access import rows_of_roles
from treasury import Treasury, open_treasury, rows

KEY = {"Idempotency-Key": "morning-shift-1"}
LISTS = [
    route
    for route in FOR_USERS
    # Label formats are presets of the program too, and neither these nor printers have pages: see tests/routers/labels.
    # A search needs its text: see tests/routers/test_searches.py.
    if route.method == "GET"
    and not route.names_a_thing
    and not route.path.endswith(("/label-formats", "/printers", "/search"))
]
# Seen and not there, whoever asks: what the service itself writes anew into each answer.
VARYING = {"x-request-id", "content-length", "date", "etag"}


@dataclass(frozen=True)
class Neighbours:
    """`theirs` are the other organisation's things, `own` those of the one that calls."""

    treasury: Treasury
    theirs: Things
    own: Things
    stranger: Caller

    @property
    def client(self) -> httpx2.AsyncClient:
        return self.treasury.client(self.stranger)

    async def rows(self) -> dict[str, str]:
        """What the other organisation has in each table, with the versions of the rows."""
        tables = [table.name for table in Table.metadata.sorted_tables if "manufacturer_org_id" in table.columns]
        found = {}
        for table in tables:
            [row] = await self.treasury.sql(
                "SELECT string_agg(CAST(line AS text) || line.xmin, ';' ORDER BY line.ctid) AS lines"
                f" FROM {table} AS line WHERE manufacturer_org_id = :org",
                org=self.treasury.organisation_id,
            )
            found[table] = row.lines
        return found


@pytest.fixture
async def neighbours(settings: Settings) -> AsyncIterator[Neighbours]:
    organisation_id = uuid4()
    settled = {"akselgate_organisation": organisation_id, "accurate_databases": f"{DATABASE}={organisation_id}"}
    async with open_treasury(settings, **settled) as treasury:
        admin = Plant(treasury.runtime, treasury.admin)
        stranger = treasury.somebody(Role.ADMIN, uuid4())
        stranger = Caller(stranger.user_id, stranger.organisation_id, frozenset(Role))
        log_id = await treasury.sent("REF1", fault=Fault.ERROR, kd_settle="STL1")
        names = await event_of(admin) | {"log_id": log_id, "settlement": "STL1", "reference": "REF1"}
        theirs = await things_of(admin, "SKA", **names)
        own = await things_of(Plant(treasury.runtime, stranger), "SKB")
        made = await treasury.client(treasury.admin).post(
            f"{API}/batches", headers=KEY, json={**_order(), "product_name": "Confidential"}
        )
        assert made.status_code == 202, made.text
        yield Neighbours(treasury, theirs, own, stranger)


def _order() -> dict[str, Any]:
    return {"order_id": str(uuid4()), "quantity": 5, "serial_prefix": "SKC"}


def nothing_like(things: Things) -> Things:
    """Names of the same form as those, of which none exists."""
    made: dict[str, str | int] = {}
    for name, value in things.names.items():
        if isinstance(value, int):
            made[name] = value + 1_000_000
        elif re.fullmatch(r"[0-9a-f-]{36}", value):
            made[name] = str(uuid4())
        elif value.isdigit():
            made[name] = f"77{value[2:]}"
        else:
            made[name] = f"{'zz' if value.islower() else 'ZZ'}{value[2:]}"
    return Things(NO_THINGS.batch, made)


def told(answer: httpx2.Response, things: Things, route: Route) -> tuple[int, Mapping[str, str], str]:
    """All of an answer, with the names of the request's things in the place of their values."""
    body = answer.text
    for name in sorted(route.names):
        body = body.replace(str(things.names[name]), f"{{{name}}}")
    headers = {name: value for name, value in answer.headers.items() if name not in VARYING}
    return answer.status_code, headers, body


def with_one_of(own: Things, other: Things, name: str) -> Things:
    return Things(own.batch, {**own.names, name: other.names[name]})


async def test_a_thing_of_another_organisation_answers_as_one_that_does_not_exist(neighbours: Neighbours) -> None:
    client, theirs, nothing = neighbours.client, neighbours.theirs, nothing_like(neighbours.theirs)
    before = await neighbours.rows()
    assert all(before[table] for table in ("qr_codes", "webhook_queue", "t_akselgate_transaction_log"))
    for route in FOR_USERS:
        answer = await theirs.send(client, route)
        if route.names_a_thing:
            assert answer.status_code == 404, (route.id, answer.text)
            assert answer.json()["type"] == "urn:qrtrack:problem:not-found", route.id
            assert told(answer, theirs, route) == told(await nothing.send(client, route), nothing, route)
        else:
            assert answer.is_success, (route.id, answer.text)
    assert await neighbours.rows() == before


async def test_lists_show_nothing_of_another_organisation(neighbours: Neighbours) -> None:
    """Neither by a filter that names its things, nor without any, nor behind a cursor that it was given itself."""
    visitor = neighbours.treasury.somebody(Role.ADMIN, uuid4())
    client, owner = neighbours.treasury.client(visitor), neighbours.treasury.client(neighbours.treasury.admin)
    for route in LISTS:
        filtered = await neighbours.theirs.send(client, route)
        plain = await client.get(route.path)
        page = await owner.get(route.path, params={"limit": 1})
        cursor = page.json().get("next_cursor") or page.json().get("cursor")
        behind = [] if cursor is None else [await client.get(route.path, params={"limit": 1, "cursor": cursor})]
        for answer in (filtered, plain, *behind):
            [rows] = [value for value in answer.json().values() if isinstance(value, list)]
            assert (answer.status_code, rows) == (200, []), (route.id, answer.text)
    assert len(LISTS) > 4


async def test_a_foreign_thing_among_own_ones_answers_as_one_that_does_not_exist(neighbours: Neighbours) -> None:
    client, own, theirs = neighbours.client, neighbours.own, neighbours.theirs
    nothing, before, tried = nothing_like(theirs), await neighbours.rows(), 0
    for route in PACKING + LABELS:
        for name in route.names if route.names_a_thing else ():
            mixed = [with_one_of(own, other, name) for other in (theirs, nothing)]
            answers = [await things.send(client, route) for things in mixed]
            # An excluded code that is not there is counted as unknown.
            assert 400 <= answers[0].status_code < 500 or name == "bad_code", (route.id, name, answers[0].text)
            assert told(answers[0], mixed[0], route) == told(answers[1], mixed[1], route)
            tried += 1
    assert tried > 25
    assert await neighbours.rows() == before


async def test_the_idempotency_key_of_another_organisation_opens_no_answer(neighbours: Neighbours) -> None:
    """The other organisation has an answer under this key on every route."""
    for route in FOR_USERS:
        if route.method == "POST":
            await neighbours.treasury.sql(
                "INSERT INTO idempotency_keys"
                " (manufacturer_org_id, route, key, body_hash, status_code, headers, answer)"
                " SELECT manufacturer_org_id, :route, key, ''::bytea, status_code, headers, answer"
                " FROM idempotency_keys WHERE route = 'POST /api/manufacturer/batches' AND key = :key"
                " ON CONFLICT DO NOTHING",
                route=f"POST {neighbours.theirs(route.path)}",
                key=KEY["Idempotency-Key"],
            )
    client, before = neighbours.client, await neighbours.rows()
    client.headers.update(KEY)
    for route in FOR_USERS:
        if route.method == "POST":
            answer = await neighbours.theirs.send(client, route)
            assert "idempotency-replayed" not in answer.headers, route.id
            assert answer.status_code == 404 if route.names_a_thing else answer.is_success, (route.id, answer.text)
    assert await neighbours.rows() == before


@pytest.mark.parametrize(("field", "slug"), [("manufacturer_org_id", "other-organisation"), ("user_id", "other-user")])
async def test_a_body_for_somebody_else_is_refused_before_anything_is_looked_up(
    neighbours: Neighbours, field: str, slug: str
) -> None:
    """Also where the body is wrong otherwise, and with the caller's own things."""
    treasury = neighbours.treasury
    statements: list[str] = []
    client, engine = treasury.client(treasury.admin), treasury.runtime.database.engine.sync_engine
    sqlalchemy.event.listen(engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    for route in FOR_USERS:
        # Of a form only the fields are read: nothing is looked up for them either.
        wrong = [] if route.form else [{"exclude_code": "x"}]
        for more in ({}, *wrong) if route.method == "POST" else ():
            answer = await neighbours.theirs.send(client, route, **{field: str(uuid4())}, **more)
            assert answer.status_code == 403, (route.id, answer.text)
            assert answer.json()["type"] == f"urn:qrtrack:problem:{slug}", route.id
    assert statements == []
    await client.get(f"{API}/batches")
    assert statements


async def test_only_the_roles_of_the_table_get_through_and_what_others_send_changes_nothing(
    neighbours: Neighbours,
) -> None:
    may = {operation: roles for operations, roles in rows_of_roles() for operation in operations}
    before = await neighbours.rows()
    for role in (*Role, None):
        caller = Caller("somebody", neighbours.treasury.organisation_id, frozenset({role} if role else ()))
        client = neighbours.treasury.client(caller)
        for route in FOR_USERS:
            if role is None or not may[route.id][role]:
                answer = await neighbours.theirs.send(client, route)
                assert answer.status_code == 403, (role, route.id, answer.text)
                assert answer.json()["type"] == "urn:qrtrack:problem:missing-role", (role, route.id)
    assert await neighbours.rows() == before


@pytest.fixture
async def machine(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    async with open_treasury(settings) as treasury:
        yield treasury.client()


WRONG_SECRETS = [
    "", "Bearer", "Bearer ", f"bearer{SECRET}", SECRET, f"Basic {SECRET}", f"Bearer {SECRET[:-1]}", f"Bearer {SECRET}x",
    f"Bearer {SECRET.upper()}", f"Bearer {SECRET} {SECRET}", "Bearer null", "Bearer é", f"Token {SECRET}",
]  # fmt: skip


async def test_no_wrong_secret_opens_a_route_for_machines(machine: httpx2.AsyncClient) -> None:
    for route in FOR_MACHINES:
        for header in (None, *WRONG_SECRETS):
            headers = [] if header is None else [(b"Authorization", header.encode("latin-1"))]
            answer = await machine.request(route.method, route.path, headers=headers)
            assert answer.status_code == 401, (route.id, header, answer.text)
            assert answer.headers["www-authenticate"], route.id
            assert SECRET not in answer.text
        answer = await NO_THINGS.send(machine, route)
        assert answer.status_code == 401, route.id


async def test_a_token_of_every_role_opens_no_route_for_machines(neighbours: Neighbours) -> None:
    for route in FOR_MACHINES:
        assert (await NO_THINGS.send(neighbours.client, route)).status_code == 401, route.id


async def test_an_unset_secret_closes_the_routes_for_machines(settings: Settings) -> None:
    async with open_treasury(settings, cron_secret=None, worker_secret=None) as treasury:
        for header in (f"Bearer {SECRET}", "Bearer None", *WRONG_SECRETS):
            client = treasury.client()
            for route in FOR_MACHINES:
                headers = [(b"Authorization", header.encode("latin-1"))]
                answer = await client.request(route.method, route.path, headers=headers)
                assert answer.status_code == 503, (route.id, header)


def test_some_request_names_each_thing() -> None:
    assert set().union(*(route.names for route in FOR_USERS)) == set(NO_THINGS.names)


async def test_an_account_that_changed_hands_pays_nothing_again_and_shows_no_attempt_of_before(
    settings: Settings,
) -> None:
    """References and settlements are the bank's, whoever holds the account."""
    async with open_treasury(settings) as before, open_treasury(settings) as after:
        log_id = await before.sent("REF1", fault=Fault.ERROR, kd_settle="STL1")
        taken = len(after.gateway.requests)
        for settlement, references in (("STL1", ("REF9",)), ("STL2", ("REF1", "REF9")), ("STL1", ("REF1",))):
            answer = await after.dispatch(settlement, rows(*references))
            assert answer.status_code == 409, answer.text
        assert len(after.gateway.requests) == taken
        assert (await after.get("attempts")).json()["attempts"] == []
        assert (await after.get(f"attempts/{log_id}")).status_code == 404
        assert (await after.resolve(log_id)).status_code == 404
