"""Starts `qrtrack` processes without the two seconds that importing takes: they are forked from a process that has
imported all commands.

Everything else is as with `Popen`: a child of the test process with its own arguments, environment, folder, streams,
signals and exit code. CLONE_PARENT, which only Linux has, makes the process a child of the test process instead of the
process that was forked. On other systems, under coverage and with PYTHON* variables, the script is started in the usual
way.
"""

import atexit
import ctypes
import gc
import importlib
import inspect
import json
import os
import pkgutil
import platform
import signal
import socket
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, NoReturn

QRTRACK = str(Path(sys.executable).with_name("qrtrack"))
CLONE_PARENT = 0x8000
SYSTEM_CALL = {("Linux", "x86_64"): 56, ("Linux", "aarch64"): 220}.get((platform.system(), platform.machine()))
LONGEST_REQUEST = 1 << 20


class Qrtrack(subprocess.Popen[Any]):
    """`Popen` of the installed script with these arguments. Takes the keywords of `Popen`; `env` is required."""

    def __init__(self, *words: str, env: dict[str, str], **options: Any) -> None:
        self._is_forked = SYSTEM_CALL is not None and not any(name.startswith(("PYTHON", "COV")) for name in env)
        super().__init__([QRTRACK, *words], env=env, **options)

    def _execute_child(self, *given: Any) -> None:
        original = vars(subprocess.Popen)["_execute_child"]
        if not self._is_forked:
            original(self, *given)
            return
        asked = inspect.signature(original).bind(self, *given).arguments
        request = {
            "words": asked["args"],
            "folder": os.fspath(asked["cwd"] or Path.cwd()),
            "environment": asked["env"],
            "group": asked["process_group"],
        }
        ends = [asked[name] for name in ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")]
        streams = [own if end == -1 else end for own, end in enumerate((ends[0], ends[3], ends[5]))]
        control, lock = _parent()
        with lock:
            socket.send_fds(control, [json.dumps(request).encode()], streams)
            self.pid = int(control.recv(32))
        self._child_created = True
        vars(subprocess.Popen)["_close_pipe_fds"](self, *ends)


@cache
def _parent() -> tuple[socket.socket, Lock]:
    """Starts the process to fork from, once for this test process, and returns its control socket. It ends with the
    test process.
    """
    control, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    command = [sys.executable, __file__, str(its.fileno())]
    parent = subprocess.Popen(
        command, pass_fds=[its.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=kept, cwd="/"
    )
    its.close()
    atexit.register(parent.wait)
    atexit.register(control.close)
    return control, Lock()


def _become_commands(control: socket.socket) -> None:
    """Forks a process for each request. Returns only in the forked processes, with the requested arguments,
    environment, folder and streams.
    """
    while True:
        message, streams, *_ = socket.recv_fds(control, LONGEST_REQUEST, 3)
        if not message:
            sys.exit()
        if (pid := _fork_sibling()) == 0:
            break
        control.send(str(pid).encode())
        for stream in streams:
            os.close(stream)
    control.close()
    for own, stream in enumerate(streams):
        os.dup2(stream, own)
        os.close(stream)
    request = json.loads(message)
    if request["group"] >= 0:
        os.setpgid(0, request["group"])
    os.chdir(request["folder"])
    # Python sets it where no locale is named.
    coerced = {name: value for name, value in os.environ.items() if name == "LC_CTYPE"}
    os.environ.clear()
    os.environ.update(coerced | request["environment"])
    time.tzset()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = request["words"]


def _fork_sibling() -> int:
    """Works like `os.fork`, but the new process is a child of the caller's parent."""
    # Held: PyDLL keeps the interpreter's lock, as os.fork does.
    libc, python = ctypes.PyDLL(None), ctypes.pythonapi
    python.PyOS_BeforeFork()
    pid = int(libc.syscall(SYSTEM_CALL, CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0))
    python.PyOS_AfterFork_Parent() if pid else python.PyOS_AfterFork_Child()
    return pid


def main() -> NoReturn:
    # The folder of this file is on no command's path.
    del sys.path[0]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()
    from qrtrack import cli, commands

    for module in pkgutil.iter_modules(commands.__path__, "qrtrack.commands."):
        importlib.import_module(module.name)
    importlib.import_module("uvicorn.protocols.http.httptools_impl")
    gc.freeze()
    gc.enable()
    _become_commands(socket.socket(fileno=int(sys.argv[1])))
    sys.exit(cli.app())


if __name__ == "__main__":
    main()
