"""If the database does not fit, a start or a command prints one line without a traceback. The exit code is 1."""

import asyncio
import signal
from pathlib import Path

import pytest

from cluster import Cluster
from process import free_port, run, started, wait_for
from qrtrack.database import Database
from qrtrack.postgresql import schema_revision
from starts import migrate_to, only_line, refused_at


def test_a_start_says_in_one_line_what_is_wrong_with_its_database(
    tmp_path: Path, app_cluster: Cluster, migrated: str
) -> None:
    """tests/environments tests the other commands and further faults."""
    said = only_line(run(tmp_path, "serve", DATABASE_URL=app_cluster.url("app", "elsewhere")))
    assert 'database "elsewhere" does not exist' in said
    assert "DATABASE_URL" in said
    said = refused_at(tmp_path, app_cluster, migrated, "serve", revision="9999_later")
    assert "migrated by a newer version (revision 9999_later): install that version" in said
    said = refused_at(tmp_path, app_cluster, migrated, "worker", revision="20261126_interrupted")
    assert "made by a development version from before the first release (revision 20261126_interrupted)" in said


def test_migrate_check_shows_the_revision_of_the_database(tmp_path: Path, app_cluster: Cluster, migrated: str) -> None:
    agrees = run(tmp_path, "migrate", "--check", DATABASE_URL=migrated)
    assert (agrees.returncode, agrees.stdout) == (0, "The database is at the newest revision.\n")
    asyncio.run(app_cluster.sql("DROP DATABASE IF EXISTS empty", "CREATE DATABASE empty OWNER app"))
    empty = app_cluster.url("app", "empty")
    assert "revision none" in only_line(run(tmp_path, "migrate", "--check", DATABASE_URL=empty))
    tables = asyncio.run(app_cluster.sql("SELECT FROM pg_class WHERE relowner = 'app'::regrole", database="empty"))
    assert tables == [], "nothing was made"


async def test_every_migration_can_be_taken_back_and_made_again(app_cluster: Cluster) -> None:
    await app_cluster.sql("CREATE DATABASE back OWNER app")
    url = app_cluster.url("app", "back")
    await migrate_to(url, "tenant_back", "-1", "-1", "base")
    left = await app_cluster.sql(
        """
        SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
        UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        """,
        database="back",
    )
    assert left == [("alembic_version",)]
    await migrate_to(url, "tenant_back")
    database = Database.connect(url, pool_size=1)
    assert await schema_revision.differences(database.engine) == []
    await database.close()


def test_a_start_says_which_database_it_uses_and_never_the_password(tmp_path: Path, migrated: str) -> None:
    port = free_port()
    with started(
        tmp_path, "serve", "--port", str(port), DATABASE_URL=migrated.replace("app@", "app:hidden-5c1@")
    ) as one:
        wait_for(f"http://127.0.0.1:{port}/readyz")
        one.send_signal(signal.SIGTERM)
        assert one.stderr is not None
        said = one.stderr.read()
    [line] = [line for line in said.splitlines() if "using the database" in line]
    assert all(part in line for part in ("host=/tmp/", "database=app", "user=app"))
    assert "hidden-5c1" not in said


@pytest.mark.parametrize("command", ["migrate", "serve"])
@pytest.mark.parametrize("settings", [{}, {"DATABSE_URL": "postgresql://app@db/app"}])
def test_production_without_its_database_is_refused(tmp_path: Path, command: str, settings: dict[str, str]) -> None:
    said = only_line(run(tmp_path, command, QRTRACK_ENV="production", **settings))
    assert "DATABASE_URL is not set" in said
    assert not (tmp_path / "var").exists()
