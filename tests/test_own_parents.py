"""No row hangs under a parent of another organisation: every table and every column that names a parent is tried."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from plant import Plant
from process import TENANT_ROLE
from qrtrack.domain.identity import Caller
from qrtrack.models import Table
from test_tenancy import fill

PARENTS = {"batch_id", "job_id", "master_code_id", "attempt_id"}
# They name a parent, and no organisation may insert or change them: only the worker and triggers write these tables.
OF_THE_WORKER = {("accurate_documents", "event_id"), ("notifications", "subject_id"), ("webhook_conflicts", "queue_id")}
OPEN_ATTEMPTS = ("t_akselgate_open_attempts", "attempt_id")
# Ids that other systems own, or that are text of a person or machine.
NO_PARENTS = {"id", "manufacturer_org_id", "order_id", "database_id", "entity_id", "request_id"}
OWN_KEYS = {("sync_batch_progress", "batch_id")}

TENANT_TABLES = [table for table in Table.metadata.sorted_tables if "manufacturer_org_id" in table.columns]
CHILDREN = sorted(
    {(table.name, column.name) for table in TENANT_TABLES for column in table.columns if column.name in PARENTS}
    - OWN_KEYS
    - {OPEN_ATTEMPTS}
)


def test_every_column_that_may_name_a_parent_is_tried() -> None:
    """A new table of an organisation fails here until its parent is named above."""
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

    async def rights(self, table: str, right: str) -> set[str]:
        """The columns of which a request may write that way."""
        rows = await self.plant.sql(
            "SELECT attname FROM pg_attribute WHERE attrelid = CAST(:name AS regclass) AND attnum > 0"
            " AND NOT attisdropped AND attidentity <> 'a' AND attgenerated = ''"
            f" AND has_column_privilege('{TENANT_ROLE}', attrelid, attnum, :right)",
            name=table,
            right=right,
        )
        return {row.attname for row in rows}


@pytest.fixture
async def neighbours(plant: Plant) -> Neighbours:
    other = Plant(plant.runtime, Caller("neighbour", uuid4(), plant.caller.roles))
    for place in (plant, other):
        await fill(place)
        await place.sql(
            "INSERT INTO trace_events (manufacturer_org_id, action, actor, batch_id, job_id)"
            " SELECT manufacturer_org_id, 'job.seen', 'test', batch_id, id FROM qr_reverse_jobs"
            " WHERE manufacturer_org_id = :org",
            org=place.caller.organisation_id,
        )
        await send(place)
    return Neighbours(plant, plant.caller.organisation_id, other.caller.organisation_id)


SENDING = """
WITH attempt AS (
    INSERT INTO t_akselgate_transaction_log (id, manufacturer_org_id, transaction_type, kd_settle, request_id,
        attempt_number, total_transaksi, request_payload, payload_sha256, control_sum, outcome, sent_by)
    OVERRIDING SYSTEM VALUE
    SELECT number, :org, 'CA_ESCROW', :settlement, number, 1, 1, '{}', '', 1, 'sending', 'finance'
    FROM nextval('t_akselgate_transaction_log_id_seq') AS number RETURNING id)
"""
ROW = """
INSERT INTO t_akselgate_transaction_rows (attempt_id, manufacturer_org_id, row_number, reference_number, debit_account,
    credit_account, amount, description)
SELECT id, manufacturer_org_id, 1, right(kd_settle, 9), '1000000001', '2000000001', 1, ''
FROM t_akselgate_transaction_log
"""


async def send(place: Plant) -> None:
    """An attempt that is being sent, as a request writes it, with its row and an event."""
    async with place.runtime.database.engine.begin() as connection:
        await become(connection, place.caller.organisation_id)
        values = {"org": place.caller.organisation_id, "settlement": f"STL{place.caller.organisation_id}"}
        await connection.execute(text(f"{SENDING} SELECT id FROM attempt"), values)
        await connection.execute(text(ROW))
        await connection.execute(
            text(
                "INSERT INTO t_akselgate_events (attempt_id, manufacturer_org_id, kind, actor)"
                " SELECT id, manufacturer_org_id, 'swept', 'sweeper' FROM t_akselgate_transaction_log"
            )
        )


async def become(connection: AsyncConnection, organisation_id: UUID) -> None:
    await connection.execute(text("SELECT set_config('qrtrack.org', :org, true)"), {"org": str(organisation_id)})
    await connection.execute(text(f"SET LOCAL ROLE {TENANT_ROLE}"))


async def clear(connection: AsyncConnection, deletion: str) -> None:
    """Without a look at what refers to the rows; the transaction is rolled back."""
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
    """The rows of the other organisation are taken out and put back: by itself they return, by us they must not."""
    columns = ", ".join(sorted(await neighbours.rights(table, "INSERT")))
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
    movable = [child for child in CHILDREN if child[1] in await neighbours.rights(child[0], "UPDATE")]
    assert ("qr_codes", "batch_id") in movable
    refusals = {child: await move_under_other(neighbours, *child) for child in movable}
    assert {child: refusal for child, refusal in refusals.items() if not is_for_the_parent(refusal)} == {}


async def test_what_the_worker_writes_no_request_writes(neighbours: Neighbours) -> None:
    for table, column in (*OF_THE_WORKER, OPEN_ATTEMPTS):
        for right in ("INSERT", "UPDATE"):
            assert column not in await neighbours.rights(table, right), table
