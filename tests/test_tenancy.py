"""The database enforces tenancy: a statement without WHERE that runs as a request finds only rows of the caller's
organisation.
"""

import asyncio
from contextlib import nullcontext
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import CursorResult, Row, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from every_table import (
    APPEND_ONLY,
    OF_THE_SERVICE,
    TABLES_OF_ORGANISATIONS,
    TENANT_TABLES,
    as_request,
    fill,
    writable,
)
from plant import Plant
from process import TENANT_ROLE
from qrtrack.database import Database
from qrtrack.domain.identity import Caller

# Triggers let through only those changes that the states of an attempt allow.
GUARDED = {"t_akselgate_transaction_log", "t_akselgate_transaction_rows"}


@pytest.fixture
async def neighbour(plant: Plant) -> Plant:
    """Another organisation with the same codes. Both organisations have rows in every table."""
    other = Plant(plant.runtime, Caller("neighbour", uuid4(), plant.caller.roles))
    await fill(plant)
    await fill(other)
    return other


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


class Undone(Exception):
    """Ends a transaction that must not be committed."""


async def refusal(plant: Plant, statement: str, **values: object) -> str:
    """Runs a statement as a request of the plant's organisation, and rolls it back. Returns the error, or the number of
    rows.
    """
    try:
        async with as_request(plant.runtime.database, plant.caller.organisation_id) as session:
            raise Undone(f"{await run(session, statement, **values)} rows")
    except (DBAPIError, Undone) as error:
        return str(getattr(error, "orig", error))


def test_every_table_is_of_organisations_or_of_the_service() -> None:
    """The tests below cover a new table of organisations as soon as `fill` stores a row in it."""
    assert len(TABLES_OF_ORGANISATIONS) > 20
    assert set(APPEND_ONLY) < set(TABLES_OF_ORGANISATIONS)


async def test_a_statement_without_where_meets_the_callers_rows_only(plant: Plant, neighbour: Plant) -> None:
    own, database = plant.caller.organisation_id, plant.runtime.database
    for table in TABLES_OF_ORGANISATIONS:
        everything = await plant.sql(f"SELECT manufacturer_org_id FROM {table}")
        mine = sum(row.manufacturer_org_id == own for row in everything)
        assert 0 < mine < len(everything), table
        may_read = "SELECT" in await rights_on(plant, table)
        for read in (False, True) if may_read else ():
            async with as_request(database, own, read=read) as session:
                seen = (await session.execute(text(f"SELECT manufacturer_org_id FROM {table}"))).all()
            assert [row.manufacturer_org_id for row in seen] == [own] * mine, table
        for column in await writable(plant, table, "UPDATE"):
            told = await refusal(plant, f"UPDATE {table} SET {column} = {column}")
            assert told == f"{mine} rows" or table in GUARDED, (table, column, told)
        told = await refusal(plant, f"DELETE FROM {table}")
        if "DELETE" in await rights_on(plant, table):
            assert told == f"{mine} rows" or "violates foreign key" in told, (table, told)
        else:
            assert "permission denied" in told, (table, told)
    assert neighbour.caller.organisation_id != own


async def test_a_row_of_another_organisation_is_neither_made_nor_changed_nor_taken_over(
    plant: Plant, neighbour: Plant
) -> None:
    own, other = plant.caller.organisation_id, neighbour.caller.organisation_id
    before = {table: await rows_of(plant, table, other) for table in TABLES_OF_ORGANISATIONS}
    for table in TABLES_OF_ORGANISATIONS:
        columns = await writable(plant, table, "INSERT")
        copied = [
            "CAST(:other AS uuid)" if name == "manufacturer_org_id" else name
            for name in columns or ["manufacturer_org_id"]
        ]
        names = ", ".join(columns or ["manufacturer_org_id"])
        insertion = f"INSERT INTO {table} ({names}) SELECT {', '.join(copied)} FROM {table} LIMIT 1"
        told = await refusal(plant, insertion, other=other)
        assert ("row-level security" if columns else "permission denied") in told, (table, told)
        changeable = await writable(plant, table, "UPDATE")
        for column in changeable:
            theirs = f"UPDATE {table} SET {column} = {column} WHERE manufacturer_org_id = :other"
            assert await refusal(plant, theirs, other=other) == "0 rows", (table, column)
        if "manufacturer_org_id" in changeable:
            told = await refusal(plant, f"UPDATE {table} SET manufacturer_org_id = :other", other=other)
            assert "row-level security" in told, (table, told)
            taken = f"UPDATE {table} SET manufacturer_org_id = :own WHERE manufacturer_org_id = :other"
            assert await refusal(plant, taken, own=own, other=other) == "0 rows", table
        if "DELETE" in await rights_on(plant, table):
            deletion = f"DELETE FROM {table} WHERE manufacturer_org_id = :other"
            assert await refusal(plant, deletion, other=other) == "0 rows", table
        assert "permission denied" in await refusal(plant, f"TRUNCATE {table} CASCADE"), table
    assert {table: await rows_of(plant, table, other) for table in TABLES_OF_ORGANISATIONS} == before


async def rows_of(plant: Plant, table: str, organisation_id: UUID) -> list[Any]:
    """Returns the rows with their versions: two results are equal only if nothing was written in between."""
    rows = await plant.sql(
        f"SELECT CAST(line AS text), CAST(line.xmin AS text) FROM {table} AS line"
        " WHERE manufacturer_org_id = :org ORDER BY ctid",
        org=organisation_id,
    )
    return list(rows)


async def test_append_only_tables_refuse_updates_and_deletes(plant: Plant, neighbour: Plant) -> None:
    """Also the owner of the tables, whom no policy binds, is refused."""
    assert neighbour.caller.organisation_id != plant.caller.organisation_id
    for table in APPEND_ONLY:
        for statement in (
            f"UPDATE {table} SET manufacturer_org_id = manufacturer_org_id",
            f"DELETE FROM {table}",
            f"TRUNCATE {table} CASCADE",
        ):
            assert "permission denied" in await refusal(plant, statement)
            with pytest.raises(DBAPIError, match="append-only"):
                await plant.sql(statement)


async def test_every_table_of_an_organisation_has_its_policy(plant: Plant) -> None:
    """Reads PostgreSQL's catalogue, so that the test covers later tables too."""
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


async def test_an_organisation_has_no_rights_on_tables_of_the_service(plant: Plant) -> None:
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


@pytest.mark.parametrize("setting", [None, "''", "'00000000-0000-0000-0000-000000000000'"])
async def test_the_role_without_an_organisation_sees_nothing(
    plant: Plant, neighbour: Plant, setting: str | None
) -> None:
    for table in TABLES_OF_ORGANISATIONS:
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
async def test_role_and_organisation_end_with_the_transaction_on_a_pooled_connection(
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
