"""Where the servers of a test run: a folder and a process group, which end with the test process, however it ends."""

import os
import pwd
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

ENDING_SECONDS = 5
# The guard reads a pipe that only the test process holds open: kill -9 of the test process ends the read. PostgreSQL
# removes its shared memory on SIGINT; what is still there after that is killed.
GUARD = """
trap '' INT TERM
read -r line
kill -INT 0
sleep 2
rm -rf "$1"
kill -KILL 0
"""


def server_user() -> str | None:
    """PostgreSQL and PgBouncer refuse to run as root: the user who runs them then. None: nothing to change."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


class Machine:
    """Starts programs for tests. Use as a context manager: leaving it kills what still runs and removes the folder."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="qrtrack-environments-"))
        # The servers' user must be able to enter it.
        self.folder.chmod(0o711)
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", GUARD, "guard", str(self.folder)], stdin=subprocess.PIPE, process_group=0
        )
        self._started: list[subprocess.Popen[Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # PostgreSQL removes its shared memory on SIGINT, and could not on SIGKILL.
        running = [process for process in self._started if process.poll() is None]
        for process in running:
            process.send_signal(signal.SIGINT)
        over = time.monotonic() + ENDING_SECONDS
        for process in running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0, over - time.monotonic()))
            process.kill()
            process.wait()
        self._guard.kill()
        self._guard.wait()
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        # Thousands of files: shutil.rmtree takes several times as long.
        subprocess.run(["rm", "-rf", str(self.folder)], check=True)

    def subfolder(self, name: str) -> Path:
        """A new folder that belongs to the servers' user."""
        path = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))
        self.give(path, 0o700)
        return path

    def give(self, file: Path, mode: int) -> None:
        """The file or folder belongs to the servers' user from now on."""
        file.chmod(mode)
        user = server_user()
        if user is not None:
            os.chown(file, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)

    def start(self, command: Sequence[object], log: Path, **options: Any) -> subprocess.Popen[Any]:
        """A long-running program, with its output in `log`."""
        with log.open("ab") as output:
            process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                process_group=self._guard.pid,
                **options,
            )
        self._started.append(process)
        return process

    def serve(self, command: Sequence[object], log: Path) -> subprocess.Popen[Any]:
        """`start` as the servers' user."""
        return self.start(command, log, cwd="/", env=clean_environment(), **_as_server_user())

    def run(self, command: Sequence[object], **more: str) -> subprocess.CompletedProcess[str]:
        """A program that ends by itself, as the servers' user; raises with its words when it fails."""
        done = subprocess.run(
            [str(word) for word in command],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            timeout=120,
            env=clean_environment() | more,
            **_as_server_user(),
        )
        if done.returncode:
            raise RuntimeError(f"{Path(str(command[0])).name} failed: {done.stderr.strip() or done.stdout.strip()}")
        return done


def clean_environment() -> dict[str, str]:
    """No PG* variable of the developer may lead a program to another server."""
    kept: Mapping[str, str] = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}


def _as_server_user() -> dict[str, Any]:
    user = server_user()
    return {} if user is None else {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
