"""Tenancy is the database's: a statement without any WHERE, run as a request runs it, meets the caller's rows only."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import CursorResult, Row, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from fanout import FanOut, done, failed
from plant import Plant, ska
from process import TENANT_ROLE
from qrtrack.database import Database
from qrtrack.domain.identity import Caller
from qrtrack.domain.notifications import Notify
from qrtrack.domain.requests import RepeatableRequest, StoredAnswer
from qrtrack.models import Table
from qrtrack.services.packing.reverse_jobs import cancel_reverse_job

TENANT_TABLES = sorted(table.name for table in Table.metadata.sorted_tables if "manufacturer_org_id" in table.columns)
# Whose turn it is to be served, and what is taken together, is of the service and not of an organisation.
OF_THE_SERVICE = {"leased_groups", "queue_turns"}

PACKING_LINE = [
    "idempotency_keys",
    "qr_batch_stages",
    "qr_batch_variants",
    "qr_batches",
    "qr_codes",
    "qr_excluded_codes",
    "qr_master_codes",
    "qr_prepared_codes",
    "qr_reverse_job_logs",
    "qr_reverse_jobs",
    "qr_serial_counters",
    "sync_batch_progress",
    "sync_batch_records",
    "trace_events",
]


async def fill(plant: Plant) -> None:
    """Rows in every table of the packing line, and of a fan-out."""
    request = RepeatableRequest(
        plant.caller.organisation_id, "/submit", "key", b"body", lambda _: StoredAnswer(200, {}, "{}")
    )
    batch = await plant.prepared(10, exclude=ska(1), units_per_case=3)
    await plant.pack(batch)
    told = await plant.submit(batch, notify=Notify(email="shift@plant.example"))
    await cancel_reverse_job(plant.runtime.database, caller=plant.caller, job_id=told)
    runtime = replace(plant.runtime, database=plant.runtime.database.answering(request))
    await Plant(runtime, plant.caller, plant.order_id).submit(batch)
    fan_out = await FanOut.announce(plant.runtime.database, plant.caller, 3)
    await fan_out.report(done("a") + failed("b"))


@pytest.fixture
async def neighbour(plant: Plant) -> Plant:
    """Another organisation with the same codes; both have rows in every table of the packing line."""
    other = Plant(plant.runtime, Caller("neighbour", uuid4(), plant.caller.roles))
    await fill(plant)
    await fill(other)
    return other


@asynccontextmanager
async def as_request(database: Database, organisation_id: UUID, *, read: bool = False) -> AsyncIterator[AsyncSession]:
    open_ = database.read if read else database.write
    async with open_(tenant=organisation_id) as repositories:
        yield repositories._session


async def run(session: AsyncSession, statement: str, **values: object) -> int:
    result = await session.execute(text(statement), values)
    assert isinstance(result, CursorResult)
    return result.rowcount


async def rights_on(plant: Plant, table: str) -> set[str]:
    rows = await plant.sql(
        "SELECT right_name FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) AS right_name"
        f" WHERE has_table_privilege('{TENANT_ROLE}', CAST(:name AS text), right_name)",
        name=table,
    )
    return {row.right_name for row in rows}


async def columns_of(plant: Plant, table: str) -> list[str]:
    rows = await plant.sql(
        "SELECT column_name FROM information_schema.columns WHERE table_name = :name AND is_identity = 'NO'"
        " AND table_schema = 'public'",
        name=table,
    )
    return [row.column_name for row in rows]


@pytest.mark.parametrize("table", PACKING_LINE)
async def test_a_statement_without_where_meets_the_callers_rows_only(
    plant: Plant, neighbour: Plant, table: str
) -> None:
    own, others = plant.caller.organisation_id, neighbour.caller.organisation_id
    database, rights = plant.runtime.database, await rights_on(plant, table)
    everything = await plant.sql(f"SELECT manufacturer_org_id FROM {table}")
    mine = sum(row.manufacturer_org_id == own for row in everything)
    assert 0 < mine < len(everything)
    async with as_request(database, own) as session:
        seen = (await session.execute(text(f"SELECT manufacturer_org_id FROM {table}"))).all()
    assert [row.manufacturer_org_id for row in seen] == [own] * mine
    async with as_request(database, own, read=True) as session:
        assert len((await session.execute(text(f"SELECT 1 FROM {table}"))).all()) == mine
    if "UPDATE" in rights:
        async with as_request(database, own) as session:
            assert await run(session, f"UPDATE {table} SET manufacturer_org_id = manufacturer_org_id") == mine
        with pytest.raises(DBAPIError, match="row-level security"):
            async with as_request(database, own) as session:
                await run(session, f"UPDATE {table} SET manufacturer_org_id = :other", other=others)
        async with as_request(database, own) as session:
            touched = await run(
                session,
                f"UPDATE {table} SET manufacturer_org_id = :own WHERE manufacturer_org_id = :other",
                own=own,
                other=others,
            )
            assert touched == 0
    columns = await columns_of(plant, table)
    copied = ", ".join(":other" if column == "manufacturer_org_id" else column for column in columns)
    with pytest.raises(DBAPIError, match="row-level security"):
        async with as_request(database, own) as session:
            await run(
                session,
                f"INSERT INTO {table} ({', '.join(columns)}) SELECT {copied} FROM {table} LIMIT 1".replace(
                    ":other", "CAST(:other AS uuid)"
                ),
                other=others,
            )
    if "DELETE" in rights:
        async with as_request(database, own) as session:
            assert await run(session, f"DELETE FROM {table}") == mine
    after = await plant.sql(f"SELECT 1 FROM {table} WHERE manufacturer_org_id = :other", other=others)
    assert len(after) == len(everything) - mine


async def test_every_table_of_an_organisation_has_its_policy(plant: Plant) -> None:
    """Asked of the catalogue, so that a later table cannot forget it."""
    rows = await plant.sql(
        "SELECT class.relname AS name, class.relrowsecurity AS secured, ("
        "  SELECT array_agg(policy.polname::text || ' ' || policy.polcmd::text || ' '"
        f"   || (policy.polroles = ARRAY['{TENANT_ROLE}'::regrole::oid])::text || ' '"
        "   || (strpos(pg_get_expr(policy.polwithcheck, policy.polrelid),"
        "       pg_get_expr(policy.polqual, policy.polrelid)) IN (1, 2))::text || ' '"
        "   || (pg_get_expr(policy.polqual, policy.polrelid) LIKE '%qrtrack.org%')::text)"
        "  FROM pg_policy AS policy WHERE policy.polrelid = class.oid) AS policies"
        " FROM pg_class AS class JOIN pg_attribute AS attribute ON attribute.attrelid = class.oid"
        " WHERE class.relkind IN ('r', 'p') AND class.relnamespace = 'public'::regnamespace"
        " AND attribute.attname = 'manufacturer_org_id' AND NOT attribute.attisdropped ORDER BY 1"
    )
    assert [row.name for row in rows] == TENANT_TABLES
    for row in rows:
        if row.name not in OF_THE_SERVICE:
            assert row.secured, row.name
            assert row.policies == ["own_rows * true true true"], row.name


async def test_what_is_of_the_service_is_read_and_written_by_no_organisation(plant: Plant) -> None:
    tables = await plant.sql(
        "SELECT class.relname AS name FROM pg_class AS class WHERE class.relkind IN ('r', 'p', 'v', 'm', 'f')"
        " AND class.relnamespace = 'public'::regnamespace AND NOT class.relrowsecurity"
    )
    names = {row.name for row in tables}
    assert OF_THE_SERVICE | {"alembic_version"} <= names
    for name in sorted(names):
        assert await rights_on(plant, name) == set(), name


async def test_an_organisation_may_not_empty_a_table_nor_change_its_trace(plant: Plant) -> None:
    for table in TENANT_TABLES:
        assert "TRUNCATE" not in await rights_on(plant, table)
    assert await rights_on(plant, "trace_events") == {"SELECT", "INSERT"}


async def test_the_role_of_requests_can_do_nothing_else(plant: Plant) -> None:
    role = await plant.sql(
        "SELECT rolsuper, rolbypassrls, rolcanlogin, rolcreatedb, rolcreaterole FROM pg_roles"
        f" WHERE rolname = '{TENANT_ROLE}'"
    )
    assert set(role[0]) == {False}
    owned = await plant.sql(f"SELECT relname FROM pg_class WHERE relowner = '{TENANT_ROLE}'::regrole")
    assert owned == []
    member = await plant.sql(f"SELECT 1 FROM pg_auth_members WHERE member = '{TENANT_ROLE}'::regrole")
    assert member == []


@pytest.mark.parametrize("setting", [None, "''"])
async def test_the_role_without_an_organisation_sees_nothing(
    plant: Plant, neighbour: Plant, setting: str | None
) -> None:
    for table in PACKING_LINE:
        async with plant.runtime.database.engine.begin() as connection:
            if setting is not None:
                await connection.execute(text(f"SELECT set_config('qrtrack.org', {setting}, true)"))
            await connection.execute(text(f"SET LOCAL ROLE {TENANT_ROLE}"))
            assert (await connection.execute(text(f"SELECT 1 FROM {table}"))).all() == []


async def who(session: AsyncSession) -> Row[Any]:
    rows = await session.execute(
        text(
            "SELECT current_user = session_user AS unbound, COALESCE(current_setting('qrtrack.org', true), '') AS org,"
            " current_setting('transaction_read_only') AS read_only, pg_backend_pid() AS pid"
        )
    )
    return rows.one()


@pytest.mark.parametrize("failing", [False, True])
async def test_nothing_of_a_request_outlives_its_transaction_on_a_pooled_connection(
    plant: Plant, *, failing: bool
) -> None:
    url = plant.runtime.settings.database_url
    assert url is not None
    database = Database.connect(url, pool_size=1, tenant_role=TENANT_ROLE)
    organisation_id = plant.caller.organisation_id
    try:
        for read in (False, True):
            inside: Row[Any] | None = None
            with pytest.raises(DBAPIError) if failing else nullcontext():
                async with as_request(database, organisation_id, read=read) as session:
                    inside = await who(session)
                    if failing:
                        await session.execute(text("SELECT 1 / 0"))
            assert inside is not None
            assert (inside.unbound, inside.org) == (False, str(organisation_id))
            async with database.write() as repositories:
                after = await who(repositories._session)
            assert (after.unbound, after.org, after.read_only, after.pid) == (True, "", "off", inside.pid)
    finally:
        await database.close()


async def test_requests_of_many_organisations_share_connections_and_never_rows(plant: Plant) -> None:
    plants = [Plant(plant.runtime, Caller("user", uuid4(), plant.caller.roles)) for _ in range(8)]
    for other in plants:
        await other.batch(3)

    async def look(other: Plant) -> set[UUID]:
        seen: set[UUID] = set()
        for _ in range(10):
            async with as_request(plant.runtime.database, other.caller.organisation_id) as session:
                rows = await session.execute(text("SELECT manufacturer_org_id FROM qr_codes"))
                seen |= {row.manufacturer_org_id for row in rows}
        return seen

    assert await asyncio.gather(*(look(other) for other in plants)) == [
        {other.caller.organisation_id} for other in plants
    ]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE qr_batches SET product_name = 'x'",
        "INSERT INTO qr_serial_counters (manufacturer_org_id, prefix) VALUES (:own, 'X')",
        "DELETE FROM qr_excluded_codes",
        "SELECT nextval('qr_codes_id_seq')",
    ],
)
@pytest.mark.parametrize("bound", [True, False])
async def test_a_read_transaction_refuses_to_write(plant: Plant, statement: str, *, bound: bool) -> None:
    tenant = plant.caller.organisation_id if bound else None
    with pytest.raises(DBAPIError, match="read-only|permission denied"):
        async with plant.runtime.database.read(tenant=tenant) as repositories:
            await repositories._session.execute(text(statement), {"own": plant.caller.organisation_id})
