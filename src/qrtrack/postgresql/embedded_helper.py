"""The helper process of the embedded PostgreSQL: runs initdb and the server, never as root, and guards the folder.

Run as a script, so it imports nothing but the standard library.
"""

import ctypes
import fcntl
import os
import pwd
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

TICK, STOPPING_SECONDS = 0.02, 60.0
PR_SET_KEEPCAPS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, CAPABILITY_VERSION_3 = 8, 47, 2, 1, 0x20080522
PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP = 28, 1 << 2


@contextmanager
def exclusive(path: Path) -> Iterator[int | None]:
    """Returns the locked descriptor, or None while another process holds the lock. A child process that inherits the
    descriptor keeps the lock.
    """
    descriptor, held = os.open(path, os.O_RDWR), None
    try:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = descriptor
        yield held
    finally:
        os.close(descriptor)


def stop(home: Path) -> None:
    """Stops the server and waits until none of its processes lives: SIGINT, then SIGQUIT, then SIGKILL. The caller
    holds `users.lock` exclusively.
    """
    began = time.monotonic()
    while True:
        with exclusive(home / "server.lock") as server:
            if server is not None:
                return
        late = time.monotonic() - began - STOPPING_SECONDS
        wanted = signal.SIGINT if late < 0 else signal.SIGQUIT if late < 5 else signal.SIGKILL
        # While `server.lock` is held, the process id is not stale; it may not be written yet.
        with suppress(FileNotFoundError, ValueError, ProcessLookupError):
            os.kill(int((home / "data/postmaster.pid").read_text().partition("\n")[0]), wanted)
        time.sleep(TICK)


def _main(home: Path, role: str, *arguments: str) -> None:  # pragma: no cover - in the helper process
    """Runs as the helper process. A `tool` runs in the foreground; a `server` and a `guard` fork and outlive their
    caller.
    """
    os.chdir("/")
    if role != "guard" and os.geteuid() == 0:
        _become(home.stat().st_uid or pwd.getpwnam("nobody").pw_uid, needed=(str(home), arguments[0]))
    if role != "tool" and os.fork():
        return
    if role != "guard":
        os.execv(arguments[0], arguments)
    _guard(home, int(arguments[0]))


def _guard(home: Path, guard: int) -> None:  # pragma: no cover - in the helper process
    """Waits until no process uses the folder, also after a kill, and stops the server."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    users = os.open(home / "users.lock", os.O_RDWR)
    fcntl.flock(users, fcntl.LOCK_EX)
    stop(home)
    # In this order: the next user of the folder must find `guard.lock` free, and start a new guard.
    os.close(guard)
    os.close(users)


def _become(uid: int, needed: tuple[str, ...]) -> None:  # pragma: no cover - in the helper process
    """Becomes another user, since PostgreSQL refuses to run as root. That user keeps CAP_DAC_OVERRIDE only to enter
    `needed`.
    """
    if _may_enter(uid, needed):
        _drop_root(uid)
        return
    libc, one, none = ctypes.CDLL(None), ctypes.c_ulong(CAP_DAC_OVERRIDE), ctypes.c_ulong(0)
    header, rights = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3), (ctypes.c_uint32 * 6)(*[1 << CAP_DAC_OVERRIDE] * 3)
    try:
        libc.prctl(PR_SET_KEEPCAPS, ctypes.c_ulong(1), none, none, none)
        # initdb calls access(2) on postgres. Without this bit, access(2) ignores the capability and initdb gives up.
        libc.prctl(PR_SET_SECUREBITS, ctypes.c_ulong(SECBIT_NO_SETUID_FIXUP), none, none, none)
        _drop_root(uid)
        if libc.capset(header, rights) or libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, one, none, none):
            raise PermissionError("CAP_DAC_OVERRIDE is missing")
    except (AttributeError, PermissionError) as error:
        sys.exit(f"root cannot run PostgreSQL as user {uid} here ({error}): run the program as an ordinary user.")


def _may_enter(uid: int, paths: tuple[str, ...]) -> bool:  # pragma: no cover - in the helper process
    """Returns whether the user may enter the folders. A child process tries it, because a process that has given up
    root cannot become root again.
    """
    child = os.fork()
    if child == 0:
        _drop_root(uid)
        os._exit(not all(os.access(path, os.R_OK | os.X_OK) for path in paths))
    return os.waitpid(child, 0)[1] == 0


def _drop_root(uid: int) -> None:  # pragma: no cover - in the helper process
    os.setgroups([])
    os.setresgid(*[pwd.getpwuid(uid).pw_gid] * 3)
    os.setresuid(uid, uid, uid)


if __name__ == "__main__":  # pragma: no cover
    _main(Path(sys.argv[1]), *sys.argv[2:])
