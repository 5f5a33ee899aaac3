"""Processes that share the folder of the embedded PostgreSQL, and checks that none of its processes is left."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from qrtrack.postgresql import embedded_helper
from qrtrack.postgresql.embedded import start
from ticking import HANG_SECONDS

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


# A user of the folder: prints the address and stays until its input ends.
USER = """
import os, subprocess, sys
from pathlib import Path
from qrtrack.postgresql.embedded import start
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


@pytest.fixture
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
    """A data folder with a database, for tests of later starts. It is moved from test to test, because the first start
    is slow.
    """
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
    """Returns the ids of the living processes of the folder's server and guards."""
    found: dict[str, list[int]] = {"server": [], "guard": []}
    home = str(folder / "postgresql")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if str((process / "cwd").readlink()) == f"{home}/data":
                found["server"].append(int(process.name))
            elif embedded_helper.__file__ in arguments and home in arguments:
                found["guard"].append(int(process.name))
        except OSError:
            continue
    return found


def assert_gone(folder: Path, seconds: float = HANG_SECONDS) -> None:
    give_up = time.monotonic() + seconds
    while (left := processes(folder)) != {"server": [], "guard": []}:
        assert time.monotonic() < give_up, left
        time.sleep(0.05)
