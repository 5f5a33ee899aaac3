"""What a statement can reach in the role of requests, beyond the rows of its organisation: nothing.

The transaction is a request's; what it may not leave is not proven: PostgreSQL lets a session go back to its own user.
So no request may bring SQL of its own, and the session's user is no superuser either
(tests/postgresql/test_embedded.py).
"""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from every_table import TABLES_OF_ORGANISATIONS, as_request, fill
from plant import Plant
from process import TENANT_ROLE
from qrtrack.domain.identity import Caller

FILES_AND_PROGRAMS = [
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "COPY qr_batches FROM PROGRAM 'true'",
    "COPY (SELECT 1) TO '/tmp/qrtrack-copied'",
    "COPY qr_batches (product_name) FROM '/etc/passwd'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_read_binary_file('PG_VERSION')",
    "SELECT pg_ls_dir('.')",
    "SELECT pg_ls_logdir()",
    "SELECT pg_stat_file('PG_VERSION')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT lo_export(1, '/tmp/qrtrack-exported')",
    "LOAD '$libdir/dblink'",
    "CREATE EXTENSION dblink",
    "CREATE EXTENSION file_fdw",
    "CREATE EXTENSION plpython3u",
]
OBJECTS = [
    "CREATE TABLE planted (id int)",
    "CREATE TABLE public.planted AS SELECT 1",
    "CREATE VIEW public.planted AS SELECT 1",
    "CREATE SCHEMA planted",
    "CREATE SEQUENCE public.planted",
    "CREATE TYPE public.planted AS (id int)",
    "CREATE FUNCTION public.planted() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE ROLE planted",
    "CREATE PUBLICATION planted FOR ALL TABLES",
    "CREATE EVENT TRIGGER planted ON ddl_command_start EXECUTE FUNCTION refuse_change()",
    "CREATE INDEX planted ON qr_batches (product_name)",
    "CREATE TRIGGER planted BEFORE INSERT ON qr_batches FOR EACH ROW EXECUTE FUNCTION refuse_change()",
    "CREATE RULE planted AS ON INSERT TO qr_batches DO INSTEAD NOTHING",
    "DROP TABLE qr_batches CASCADE",
    "ALTER TABLE qr_batches ADD COLUMN planted int",
    "DROP TRIGGER append_only ON trace_events",
    "ALTER TABLE trace_events DISABLE TRIGGER ALL",
    "COMMENT ON TABLE qr_batches IS 'planted'",
]
RIGHTS = [
    "ALTER TABLE qr_batches DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE qr_batches NO FORCE ROW LEVEL SECURITY",
    "ALTER TABLE qr_batches OWNER TO CURRENT_USER",
    "DROP POLICY own_rows ON qr_batches",
    "ALTER POLICY own_rows ON qr_batches USING (true)",
    "CREATE POLICY planted ON qr_batches USING (true)",
    f"ALTER ROLE {TENANT_ROLE} BYPASSRLS",
    f"ALTER ROLE {TENANT_ROLE} SUPERUSER",
    f"ALTER ROLE {TENANT_ROLE} LOGIN",
    f"GRANT pg_read_all_data TO {TENANT_ROLE}",
    f"GRANT pg_execute_server_program TO {TENANT_ROLE}",
    "SET LOCAL ROLE postgres",
    "SET LOCAL ROLE pg_read_server_files",
    "SET LOCAL ROLE pg_write_all_data",
    "SET LOCAL SESSION AUTHORIZATION postgres",
    "SET LOCAL session_replication_role = replica",
    "SELECT pg_reload_conf()",
    "SELECT pg_rotate_logfile()",
    "SELECT pg_switch_wal()",
    "CHECKPOINT",
]
SECRETS = [
    "SELECT * FROM pg_authid",
    "SELECT * FROM pg_shadow",
    "SELECT * FROM secret_key_fingerprint",
    "SELECT * FROM leased_groups",
    "SELECT * FROM queue_turns",
    "SELECT * FROM worker_processes",
    "SELECT * FROM alembic_version",
    "SELECT starelid FROM pg_statistic",
]
REFUSALS = (
    "permission denied", "must be owner", "must be superuser", "must have", "only roles with", "does not exist",
    "not available", "could not access file", "is not allowed",
)  # fmt: skip


@pytest.mark.parametrize("statements", [FILES_AND_PROGRAMS, OBJECTS, RIGHTS, SECRETS])
async def test_the_role_of_requests_is_refused(plant: Plant, statements: list[str]) -> None:
    [session] = await plant.sql("SELECT rolsuper FROM pg_roles WHERE rolname = session_user")
    if session.rolsuper:
        pytest.skip("the user of TEST_DATABASE_URL is a superuser, who may change to any role")
    wrong = {}
    for statement in statements:
        try:
            async with as_request(plant.runtime.database, plant.caller.organisation_id) as connected:
                await connected.execute(text(statement))
            wrong[statement] = "was not refused"
        except DBAPIError as error:
            if not any(words in str(error.orig) for words in REFUSALS):
                wrong[statement] = str(error.orig)
    assert wrong == {}


async def test_row_security_cannot_be_switched_off_by_a_setting(plant: Plant) -> None:
    await fill(plant)

    async def read_without_policies(table: str) -> None:
        async with as_request(plant.runtime.database, plant.caller.organisation_id) as session:
            await session.execute(text("SET LOCAL row_security = off"))
            await session.execute(text(f"SELECT * FROM {table}"))

    for table in TABLES_OF_ORGANISATIONS:
        with pytest.raises(DBAPIError, match="would be affected by row-level security|permission denied"):
            await read_without_policies(table)


async def test_no_condition_and_no_statistics_tell_of_the_rows_of_others(plant: Plant, caller: Caller) -> None:
    """A condition that fails on a row of another organisation would tell that the row exists."""
    await fill(plant)
    await plant.sql("UPDATE qr_batches SET product_name = 'Confidential'")
    await plant.sql("ANALYZE qr_batches")
    stranger = Plant(plant.runtime, Caller("stranger", plant.order_id, caller.roles))
    await fill(stranger)
    told = "1 / (CASE WHEN product_name = 'Confidential' THEN 0 ELSE 1 END) = 1"
    async with as_request(plant.runtime.database, stranger.caller.organisation_id) as session:
        assert (await session.execute(text(f"SELECT 1 FROM qr_batches WHERE {told}"))).all()
        statistics = "SELECT attname FROM pg_stats WHERE tablename = 'qr_batches'"
        assert (await session.execute(text(statistics))).all() == []
        others = "SELECT query FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query !~ '^<?insufficient|^$'"
        assert (await session.execute(text(others))).all() == []
    with pytest.raises(DBAPIError, match="division by zero"):
        async with as_request(plant.runtime.database, plant.caller.organisation_id) as session:
            await session.execute(text(f"SELECT 1 FROM qr_batches WHERE {told}"))


async def test_views_and_functions_do_not_run_with_the_rights_of_their_owner(plant: Plant) -> None:
    """Views run as their owner, and so do functions that say so; triggers cannot be called."""
    views = "SELECT relname FROM pg_class WHERE relkind IN ('v', 'm', 'f') AND relnamespace = 'public'::regnamespace"
    assert await plant.sql(views) == []
    lent = await plant.sql(
        "SELECT proname FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace"
        f" AND prorettype <> 'trigger'::regtype AND has_function_privilege('{TENANT_ROLE}', oid, 'EXECUTE')"
    )
    assert lent == []
    open_paths = await plant.sql(
        "SELECT proname FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace"
        " AND NOT COALESCE(array_to_string(proconfig, ' ') LIKE 'search_path=pg_catalog, public, pg_temp%', false)"
    )
    assert open_paths == []
