"""The embedded PostgreSQL under kills and crowds: the data stays, one server runs, and none is left."""

import os
import signal
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pytest

from embedded_users import User, assert_gone, processes, run, server_pid
from qrtrack.postgresql.embedded import start

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="looks for processes in /proc"),
    pytest.mark.usefixtures("no_link_left"),
]


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
