"""No row can belong to a parent of another organisation. Every column that names a parent is tested."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from every_table import become, fill, writable
from plant import Plant
from qrtrack.domain.identity import Caller
from qrtrack.models import Table

PARENTS = {
    "batch_id", "job_id", "master_code_id", "attempt_id", "recall_id", "printer_id", "label_job_id", "case_id",
}  # fmt: skip
# They name a parent, and no organisation may insert or change them: only the worker and triggers write these tables.
OF_THE_WORKER = {
    ("accurate_documents", "event_id"),
    ("notifications", "subject_id"),
    ("webhook_conflicts", "queue_id"),
    ("label_files", "job_id"),
}
OPEN_ATTEMPTS = ("t_akselgate_open_attempts", "attempt_id")
# Ids that other systems own, or that are text of a person or machine; `text_id` is Indonesian.
NO_PARENTS = {"id", "manufacturer_org_id", "order_id", "database_id", "entity_id", "request_id", "text_id", "user_id"}
OWN_KEYS = {("sync_batch_progress", "batch_id")}

TENANT_TABLES = [table for table in Table.metadata.sorted_tables if "manufacturer_org_id" in table.columns]
CHILDREN = sorted(
    {(table.name, column.name) for table in TENANT_TABLES for column in table.columns if column.name in PARENTS}
    - OWN_KEYS
    - {OPEN_ATTEMPTS}
    - OF_THE_WORKER
)


def test_every_column_that_may_name_a_parent_is_tried() -> None:
    """Fails for a new table of organisations until PARENTS or NO_PARENTS lists its columns that end with `_id`."""
    for table in TENANT_TABLES:
        for column in table.columns:
            if column.name.endswith("_id") and column.name not in NO_PARENTS | PARENTS:
                assert (table.name, column.name) in OF_THE_WORKER, f"{table.name}.{column.name}"


@dataclass
class Neighbours:
    """Two organisations with rows in every table."""

    plant: Plant
    own: UUID
    other: UUID


@pytest.fixture
async def neighbours(plant: Plant) -> Neighbours:
    other = Plant(plant.runtime, Caller("neighbour", uuid4(), plant.caller.roles))
    for place in (plant, other):
        await fill(place)
    return Neighbours(plant, plant.caller.organisation_id, other.caller.organisation_id)


async def clear(connection: AsyncConnection, deletion: str) -> None:
    """Deletes the rows without checking foreign keys. The caller rolls the transaction back."""
    await connection.execute(text("SET LOCAL session_replication_role = replica"))
    await connection.execute(text(deletion))
    await connection.execute(text("SET LOCAL session_replication_role = origin"))


async def refusal_of(connection: AsyncConnection, statement: str, **values: Any) -> str:
    try:
        await connection.execute(text(statement), values)
    except DBAPIError as error:
        return str(error.orig)
    return "nothing was refused"


async def insert_under_other(neighbours: Neighbours, table: str, column: str) -> str:
    """Deletes the rows of the other organisation and inserts them again: the other organisation may do that, our
    organisation must be refused. Returns the refusal.
    """
    columns = ", ".join(await writable(neighbours.plant, table, "INSERT"))
    put_back = (
        f"INSERT INTO {table} ({columns}) SELECT {columns} FROM jsonb_populate_recordset(CAST(NULL AS {table}),"
        " (SELECT jsonb_agg(line || jsonb_build_object('manufacturer_org_id', CAST(:org AS text)))"
        "  FROM jsonb_array_elements(CAST(:rows AS jsonb)) AS line))"
    )
    async with neighbours.plant.runtime.database.engine.connect() as connection:
        rows: Any = await connection.scalar(
            text(
                f"SELECT CAST(jsonb_agg(to_jsonb(line)) AS text) FROM {table} AS line"
                f" WHERE manufacturer_org_id = :other AND {column} IS NOT NULL"
            ),
            {"other": neighbours.other},
        )
        assert rows is not None, f"the test has no row of {table} with {column}"
        await clear(connection, f"DELETE FROM {table}")
        attempt = await connection.begin_nested()
        await become(connection, neighbours.other)
        await connection.execute(text(put_back), {"org": str(neighbours.other), "rows": rows})
        await attempt.rollback()
        await become(connection, neighbours.own)
        return await refusal_of(connection, put_back, org=str(neighbours.own), rows=rows)


async def move_under_other(neighbours: Neighbours, table: str, column: str) -> str:
    async with neighbours.plant.runtime.database.engine.connect() as connection:
        theirs = await connection.scalar(
            text(f"SELECT max(CAST({column} AS text)) FROM {table} WHERE manufacturer_org_id = :other"),
            {"other": neighbours.other},
        )
        kind = await connection.scalar(text(f"SELECT pg_typeof({column})::text FROM {table} LIMIT 1"))
        await clear(connection, f"DELETE FROM {table} WHERE manufacturer_org_id = '{neighbours.other}'")
        await become(connection, neighbours.own)
        return await refusal_of(
            connection,
            f"UPDATE {table} SET {column} = CAST(CAST(:theirs AS text) AS {kind})"
            f" WHERE ctid = (SELECT ctid FROM {table} WHERE {column} IS NOT NULL LIMIT 1)",
            theirs=str(theirs),
        )


def is_for_the_parent(refusal: str) -> bool:
    return "violates foreign key constraint" in refusal or "violates row-level security" in refusal


async def test_a_row_is_inserted_under_a_parent_of_its_own_organisation_only(neighbours: Neighbours) -> None:
    refusals = {child: await insert_under_other(neighbours, *child) for child in CHILDREN}
    assert {child: refusal for child, refusal in refusals.items() if not is_for_the_parent(refusal)} == {}


async def test_no_row_is_moved_under_a_parent_of_another_organisation(neighbours: Neighbours) -> None:
    movable = [child for child in CHILDREN if child[1] in await writable(neighbours.plant, child[0], "UPDATE")]
    assert ("qr_codes", "batch_id") in movable
    refusals = {child: await move_under_other(neighbours, *child) for child in movable}
    assert {child: refusal for child, refusal in refusals.items() if not is_for_the_parent(refusal)} == {}


async def test_requests_cannot_write_columns_of_the_worker(neighbours: Neighbours) -> None:
    for table, column in (*OF_THE_WORKER, OPEN_ATTEMPTS):
        for right in ("INSERT", "UPDATE"):
            assert column not in await writable(neighbours.plant, table, right), table
