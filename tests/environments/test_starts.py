"""What each command says when the database is not as it should be: one line, exit code 1, no traceback."""

import asyncio
import signal
from pathlib import Path

import asyncpg
import pytest

from cluster import Cluster
from process import free_port, run, started, until_said, wait_for
from starts import migrate_to, only_line, refused_at
from ticking import HANG_SECONDS

COMMANDS = ("migrate", "prune", "serve")


each_command = pytest.mark.parametrize("command", COMMANDS)


@each_command
def test_a_database_that_is_not_there(tmp_path: Path, app_cluster: Cluster, command: str) -> None:
    said = only_line(run(tmp_path, command, DATABASE_URL=app_cluster.url("app", "elsewhere")))
    assert 'database "elsewhere" does not exist' in said
    assert "DATABASE_URL" in said


@pytest.mark.parametrize("command", ["migrate", "worker"])
def test_a_user_that_is_not_there(tmp_path: Path, app_cluster: Cluster, command: str) -> None:
    assert 'role "nobody" does not exist' in only_line(
        run(tmp_path, command, DATABASE_URL=app_cluster.url("nobody", "app"))
    )


@each_command
def test_a_user_without_rights(tmp_path: Path, app_cluster: Cluster, migrated: str, command: str) -> None:
    asyncio.run(app_cluster.sql("DROP ROLE IF EXISTS guest", "CREATE ROLE guest LOGIN"))
    assert "permission denied" in only_line(run(tmp_path, command, DATABASE_URL=migrated.replace("app@", "guest@")))


@pytest.mark.parametrize("command", ["migrate", "recalculate-progress", "accurate"])
def test_a_command_names_a_port_that_nobody_listens_on(tmp_path: Path, command: str) -> None:
    """`serve` and `worker` wait for it."""
    only_line(run(tmp_path, command, DATABASE_URL=f"postgresql://app@127.0.0.1:{free_port()}/app"))


@each_command
def test_a_newer_version_migrated_it(tmp_path: Path, app_cluster: Cluster, migrated: str, command: str) -> None:
    said = refused_at(tmp_path, app_cluster, migrated, command, revision="9999_later")
    assert "migrated by a newer version (revision 9999_later): install that version" in said


@each_command
def test_a_development_version_made_it(tmp_path: Path, app_cluster: Cluster, migrated: str, command: str) -> None:
    """The tables are those that the last development version made."""
    said = refused_at(tmp_path, app_cluster, migrated, command, revision="20261126_interrupted")
    assert "made by a development version from before the first release (revision 20261126_interrupted)" in said
    assert "Start with an empty database." in said
    assert "newer version" not in said


async def test_a_migration_that_cannot_have_a_table_gives_up_in_one_line(
    tmp_path: Path, app_cluster: Cluster, migrated: str
) -> None:
    holder = await asyncpg.connect(migrated)
    async with holder.transaction():
        await holder.execute("LOCK TABLE alembic_version IN ACCESS EXCLUSIVE MODE")
        only_line(await asyncio.to_thread(run, tmp_path, "migrate", DATABASE_URL=migrated))
    await holder.close()


@pytest.mark.parametrize(("words", "is_new"), [("serve", False), ("worker", True)])
def test_a_new_process_waits_for_the_migration_and_goes_on_by_itself(
    tmp_path: Path, app_cluster: Cluster, words: str, *, is_new: bool
) -> None:
    asyncio.run(app_cluster.sql(f"CREATE DATABASE new_{words} OWNER app"))
    url, role, port = app_cluster.url("app", f"new_{words}"), f"tenant_{words}", free_port()
    if not is_new:
        asyncio.run(migrate_to(url, role, "-1"))
    settings = {"DATABASE_URL": url, "DATABASE_TENANT_ROLE": role}
    with started(tmp_path, words, "--port", str(port), **settings) as process:
        assert "Run: qrtrack migrate" in until_said(process, "waiting for it")
        assert run(tmp_path, "migrate", **settings).returncode == 0
        assert wait_for(f"http://127.0.0.1:{port}/readyz").status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(HANG_SECONDS) == 0


def test_another_secret_key_is_refused_and_the_first_one_goes_on(
    tmp_path: Path, app_cluster: Cluster, migrated: str
) -> None:
    def ready(**settings: str) -> int:
        port = free_port()
        with started(tmp_path, "serve", "--port", str(port), DATABASE_URL=migrated, **settings) as one:
            code = wait_for(f"http://127.0.0.1:{port}/readyz").status_code
            one.send_signal(signal.SIGTERM)
            one.wait(HANG_SECONDS)
            return code

    other = {"SECRET_KEY": "another-secret-key-of-32-characters"}
    assert ready() == 200
    for command in ("serve", "worker"):
        said = only_line(run(tmp_path, command, DATABASE_URL=migrated, **other))
        assert "This database was first started with another SECRET_KEY" in said
        assert "another-secret" not in said
    assert ready() == 200
    asyncio.run(app_cluster.sql("DELETE FROM secret_key_fingerprint", "SELECT 1", database="app"))
    assert ready(**other) == 200


def test_a_host_on_printed_labels_that_no_setting_names(tmp_path: Path, app_cluster: Cluster, migrated: str) -> None:
    printed = "INSERT INTO printed_hosts (host, manufacturer_org_id) VALUES ('old.example', gen_random_uuid())"
    asyncio.run(app_cluster.sql("DELETE FROM secret_key_fingerprint", printed, "SELECT 1", database="app"))
    try:
        for command in ("serve", "worker"):
            said = only_line(run(tmp_path, command, DATABASE_URL=migrated))
            assert "printed with the host old.example, which the settings no longer name" in said
    finally:
        asyncio.run(app_cluster.sql("DELETE FROM printed_hosts", "SELECT 1", database="app"))


@pytest.mark.parametrize("options", ["endpoint%3Dep-x", "-c%20nonsense%3D1", "-c%20statement_timeout%3Dabc"])
def test_an_option_that_the_server_does_not_know(tmp_path: Path, app_cluster: Cluster, options: str) -> None:
    said = only_line(run(tmp_path, "serve", DATABASE_URL=f"{app_cluster.url('app', 'app')}&options={options}"))
    assert "correct options in DATABASE_URL" in said


@pytest.mark.parametrize("parameter", ["sslrootcert", "sslcert"])
def test_a_certificate_that_is_none(tmp_path: Path, app_cluster: Cluster, parameter: str) -> None:
    (tmp_path / "letter.txt").write_text("Dear auditor")
    url = f"{app_cluster.url('app', 'app')}&sslmode=verify-ca&{parameter}={tmp_path}/letter.txt"
    for command in ("serve", "migrate"):
        said = only_line(run(tmp_path, command, DATABASE_URL=url))
        assert f"its parameter {parameter} names {tmp_path}/letter.txt" in said


async def test_a_database_with_somebody_elses_table(tmp_path: Path, app_cluster: Cluster) -> None:
    await app_cluster.sql("CREATE ROLE other LOGIN CREATEROLE", "CREATE DATABASE other OWNER other")
    await app_cluster.sql("CREATE TABLE public.qr_batches (a int)", database="other")
    arguments = {"DATABASE_URL": app_cluster.url("other", "other"), "DATABASE_TENANT_ROLE": "other_tenant"}
    said = only_line(await asyncio.to_thread(run, tmp_path, "migrate", **arguments))
    assert 'relation "qr_batches" already exists' in said
    assert "Nothing was changed. Name an empty database" in said


async def test_a_superuser_is_never_asked_for_as_the_role_of_requests(tmp_path: Path, app_cluster: Cluster) -> None:
    arguments = {"DATABASE_URL": app_cluster.url("app", "app"), "DATABASE_TENANT_ROLE": "boss"}
    await app_cluster.sql("CREATE ROLE boss NOLOGIN SUPERUSER")
    said = only_line(await asyncio.to_thread(run, tmp_path, "migrate", **arguments))
    assert "do not bind the role boss" in said
    assert "GRANT" not in said


def test_a_start_on_the_embedded_server_says_in_which_folder(tmp_path: Path) -> None:
    port = free_port()
    with started(tmp_path, "serve", "--port", str(port)) as one:
        wait_for(f"http://127.0.0.1:{port}/readyz")
        one.send_signal(signal.SIGTERM)
        assert one.stderr is not None
        said = one.stderr.read()
    assert f"folder={tmp_path}/var" in said
