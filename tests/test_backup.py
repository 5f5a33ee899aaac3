"""Follows docs/backup.md to the letter: a backup, a restore on another server, skipped numbers, and the service works
again.
"""

import os
import signal
import stat
from pathlib import Path

import pytest

from backup_page import RESTORE, STATEMENTS, execute, goes_on, held_table, statement, waits
from plant import Plant
from process import run, started
from qrtrack.postgresql.tools import _Script
from ticking import HANG_SECONDS
from treasury import Treasury


async def test_a_restored_plant_goes_on_and_gives_out_no_number_twice(
    restored_here: str, plant: Plant, treasury: Treasury, tmp_path: Path
) -> None:
    await goes_on(restored_here, plant, treasury, tmp_path)


async def test_the_page_finds_settlements_that_await_callbacks_before_the_key_changes(
    plant: Plant, treasury: Treasury
) -> None:
    assert (await treasury.dispatch()).status_code == 200
    [held] = await plant.sql(statement("t_akselgate_open_attempts"))
    assert (held.kd_settle, held.outcome) == ("STL1", "accepted")


async def test_the_statements_for_other_restores_pass_over_as_many_numbers(
    plant: Plant, treasury: Treasury, migrated_url: str
) -> None:
    await plant.batch(10)
    last = "SELECT nextval(pg_get_serial_sequence('t_akselgate_transaction_log', 'id')) AS id"
    # Raised by the plant, above what its log holds: a number from the log would go back behind it.
    await plant.sql("SELECT setval(pg_get_serial_sequence('t_akselgate_transaction_log', 'id'), 5000000)")
    await execute(migrated_url, statement("setval"), statement("qr_serial_counters"))
    assert (await plant.sql(last))[0].id > 5_100_000
    assert (await plant.order(5)).first_code == "SKA1000011"


def test_all_statements_of_the_page_are_tried_here() -> None:
    assert len(STATEMENTS) == 4
    assert RESTORE == "restore --skip-request-ids 100000 --skip-serials 1000000"


async def test_a_backup_that_is_ended_half_way_leaves_no_file(tmp_path: Path, migrated_url: str) -> None:
    async with held_table(migrated_url) as driver:
        with started(tmp_path, "backup", "half.dump", DATABASE_URL=migrated_url) as process:
            await waits(driver)
            assert [path.suffix for path in tmp_path.iterdir() if "half" in path.name] == [".part"]
            process.send_signal(signal.SIGTERM)
            assert process.wait(HANG_SECONDS) != 0
    assert [path for path in tmp_path.iterdir() if "half" in path.name] == []


def test_restore_refuses_a_file_that_is_no_backup_before_it_makes_a_database(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear auditor")
    for name in ("letter.txt", "."):
        done = run(tmp_path, "restore", name)
        assert done.returncode == 1
        assert f"{name} is not a complete backup" in done.stderr
        assert done.stderr.count("\n") == 2, done.stderr
    assert not (tmp_path / "var").exists()


def test_a_folder_without_a_database_is_said_and_nothing_is_made(tmp_path: Path) -> None:
    done = run(tmp_path, "backup", "x.dump", JWT_SECRET="", SECRET_KEY="")
    assert done.returncode == 1
    assert f"There is no database in {tmp_path}/var. Run the command in the folder of the installation" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["backup", "x.dump"], ["restore", "x.dump"]], ids=" ".join)
def test_a_pooler_is_refused(tmp_path: Path, migrated_url: str, words: list[str]) -> None:
    done = run(tmp_path, *words, DATABASE_URL=migrated_url, DATABASE_POOLER="transaction")
    assert done.returncode == 1
    assert "A backup cannot go through PgBouncer" in done.stderr


@pytest.mark.parametrize("name", ["-", "folder", "pipe"])
def test_a_backup_goes_into_a_file_and_nothing_else(tmp_path: Path, migrated_url: str, name: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    done = run(tmp_path, "backup", name, "--overwrite", DATABASE_URL=migrated_url)
    assert done.returncode == 1
    assert f"{name} is not a file. Name a file to write" in done.stderr
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


SCRIPT = b"""GRANT SELECT ON t TO %s;
COPY t (a) FROM stdin;
GRANT x TO old_role;
\\.
REVOKE ALL ON t FROM %s;
CREATE POLICY p ON t TO %s USING (a = ' TO old_role ');
"""


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_rows_that_speak_of_roles_are_not_touched_by_a_restore(size: int) -> None:
    script, text = _Script(b"old_role", b'"new"'), SCRIPT % (b"old_role", b"old_role", b"old_role")
    parts = [script.renamed(text[start : start + size]) for start in range(0, len(text), size)]
    assert (b"".join(parts), script.rest) == (SCRIPT % (b'"new"', b'"new"', b'"new"'), b"")
