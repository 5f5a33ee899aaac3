"""Commands of a checkout or a folder that others use at the same time, and in odd places."""

import subprocess
import time
from pathlib import Path

from sqlalchemy import make_url

from forked import Qrtrack
from process import environment, free_port, run, started, until_said, wait_for
from ticking import HANG_SECONDS


def test_two_demos_at_once_share_a_folder_and_one_more_goes_on_there(tmp_path: Path) -> None:
    both = [
        Qrtrack("demo", cwd=tmp_path, env=environment(tmp_path), stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    outputs = [process.communicate(timeout=HANG_SECONDS)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    third = run(tmp_path, "demo")
    assert third.returncode == 0, third.stdout + third.stderr


def test_the_second_of_two_waiting_processes_with_one_port_is_refused(tmp_path: Path, migrated_url: str) -> None:
    address = make_url(migrated_url)
    sockets = tmp_path / "sockets"
    port, url = free_port(), address.update_query_dict({"host": str(sockets)}).render_as_string()
    words = ("serve", "--no-worker", "--port", str(port))
    with started(tmp_path, *words, DATABASE_URL=url) as one, started(tmp_path, *words, DATABASE_URL=url) as other:
        for process in (one, other):
            until_said(process, "waiting for it")
        sockets.symlink_to(str(address.query["host"]))
        assert wait_for(f"http://127.0.0.1:{port}/readyz").status_code == 200
        give_up = time.monotonic() + HANG_SECONDS
        while (ended := [process for process in (one, other) if process.poll() is not None]) == []:
            assert time.monotonic() < give_up
            time.sleep(0.05)
        [second] = ended
        assert second.returncode == 2
        assert second.stderr is not None
        said = second.stderr.read()
    assert "is in use by another program" in said
    assert "serving" not in said
    assert "Traceback" not in said


def test_a_checkout_in_a_folder_with_a_percent_sign_migrates(tmp_path: Path) -> None:
    checkout = tmp_path / "50% off, 100%s"
    checkout.mkdir()
    for part in ("src", "migrations"):
        (checkout / part).symlink_to(Path(__file__).parents[2] / part)
    ran = run(checkout, "migrate", PYTHONPATH=str(checkout / "src"))
    assert (ran.returncode, ran.stdout[:28]) == (0, "The database is at revision "), ran.stderr
