"""The commands as a person types them: real processes, a real database, their output and exit codes."""

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import httpx2
import jwt
import pytest
from sqlalchemy import make_url

from accurate import event
from fanout import FanOut, done
from plant import Plant
from process import SECRET, environment, free_port, run, started, until_said, wait_for
from qrtrack import demo
from qrtrack.database import Database
from qrtrack.demo.telling import Mismatch
from qrtrack.domain.identity import Caller
from qrtrack.services.accurate.intake import receive_events
from qrtrack.services.gauges import read_gauges
from ticking import HANG_SECONDS


def test_the_demo_keeps_its_promises_on_an_empty_folder(tmp_path: Path) -> None:
    first = run(tmp_path, "demo")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "Everything was as promised" in first.stdout
    assert "995" in first.stdout
    assert [word for word in ("genuine:", "genuine_seen_before:", "recalled:") if word not in first.stdout] == []
    assert re.search(r"^http://127\.0\.0\.1:8000/console/sign-in#\S{43}$", first.stdout, re.MULTILINE)
    files = sorted(path.name for path in (tmp_path / "var/demo").glob("*/*"))
    assert files == ["case-labels.zpl", "codes.csv", "labels.pdf", "qr.png"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Mismatch("codes: 1 instead of 2"), "Not as promised:[/] codes: 1 instead of 2"),
        (TimeoutError(), "The step above took more than"),
        (httpx2.ReadTimeout(""), "The step above took more than"),
    ],
    ids=["mismatch", "step", "answer"],
)
async def test_the_demo_says_why_it_ends(error: Exception, said: str) -> None:
    async def story() -> None:
        raise error

    assert said in str(await demo.failure_of(story()))


def test_a_token_names_user_organisation_and_roles(tmp_path: Path) -> None:
    organisation, user = uuid4(), uuid4()
    words = ("token", "--org", str(organisation), "--user", str(user), "--role", "manager", "--role", "finance")
    claims = jwt.decode(run(tmp_path, *words).stdout.strip(), SECRET, algorithms=["HS256"])
    assert UUID(claims["manufacturer_org_id"]) == organisation
    assert claims["sub"] == str(user)
    assert sorted(claims["roles"]) == ["finance", "manager"]


@pytest.mark.parametrize(
    ("words", "unloaded", "most"),
    [
        (
            ("--help",),
            {"alembic", "asyncpg", "cryptography", "fastapi", "httpx2", "jwt", "pydantic", "sqlalchemy"},
            450,
        ),
        (("token", "--org", str(UUID(int=1))), {"alembic", "asyncpg", "fastapi", "sqlalchemy", "uvicorn"}, 900),
    ],
)
def test_a_command_loads_no_more_than_it_needs(
    tmp_path: Path, words: Sequence[str], unloaded: set[str], most: int
) -> None:
    """Loading the server and the database took two to three seconds with every command."""
    script = "import atexit, sys; from qrtrack.cli import app; atexit.register(lambda: print(*sys.modules)); app()"
    done = subprocess.run(
        [sys.executable, "-c", script, *words],
        cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded = done.stdout.splitlines()[-1].split()
    assert {name.partition(".")[0] for name in loaded} & unloaded == set()
    assert len(loaded) <= most


def test_a_bad_setting_stops_the_start_with_one_line(tmp_path: Path) -> None:
    done = run(tmp_path, "serve", QRTRACK_ENV="production", JWT_SECRET="changeme")
    assert done.returncode == 1
    assert "JWT_SECRET" in done.stderr
    assert "Traceback" not in done.stderr


def test_migrate_brings_a_database_to_the_newest_schema(tmp_path: Path, migrated_url: str) -> None:
    done = run(tmp_path, "migrate", DATABASE_URL=migrated_url)
    assert done.returncode == 0
    assert "The database is at revision" in done.stdout


def test_prune_says_what_it_deletes(tmp_path: Path, migrated_url: str) -> None:
    looked, done = (
        run(tmp_path, "prune", *words, DATABASE_URL=migrated_url, RETENTION_DAYS="30") for words in (["--dry-run"], [])
    )
    assert "reverse_jobs: 0 would be deleted" in looked.stdout
    assert "reverse_jobs: 0 deleted" in done.stdout
    assert looked.returncode == done.returncode == 0


async def test_spoiled_counters_are_restored_and_shown_before_and_after(
    tmp_path: Path, migrated_url: str, database: Database, caller: Caller
) -> None:
    fan_out = await FanOut.announce(database, caller, 10)
    await fan_out.report(done(1, 2, 3))
    await fan_out.set("processed_records = 1, progress_percentage = 99")
    words = ("recalculate-progress", "--batch-id", str(fan_out.batch_id))
    silent = run(tmp_path, "recalculate-progress", DATABASE_URL=migrated_url)
    assert silent.stdout == "0 recounted, 0 repaired, 0 could not be recounted.\n"
    everything = run(tmp_path, "recalculate-progress", "--all", DATABASE_URL=migrated_url)
    rest = "success_count 3, failed_records 0"
    wrong = f"processed_records 1, {rest}, progress_percentage 99, status processing"
    right = f"processed_records 3, {rest}, progress_percentage 30, status processing"
    assert everything.stdout.splitlines() == [
        f"sync_batch {fan_out.batch_id} repaired", f"  before: {wrong}", f"  after:  {right}",
        "1 recounted, 1 repaired, 0 could not be recounted.",
    ]  # fmt: skip
    assert await fan_out.counts() == ("processing", 3, 3, 0, 30)
    told = await read_gauges(database, zone=ZoneInfo("UTC"))
    assert told.count_repairs == {"sync_batch": 1}, "what nobody scrapes shows in the metrics of all others"
    again = run(tmp_path, *words, DATABASE_URL=migrated_url)
    assert again.stdout.splitlines() == [
        f"sync_batch {fan_out.batch_id} right", f"  before: {right}", f"  after:  {right}",
        "1 recounted, 0 repaired, 0 could not be recounted.",
    ]  # fmt: skip
    assert [made.returncode for made in (silent, everything, again)] == [0, 0, 0]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--batch-id", str(UUID(int=7))], 1, "There is nothing to recount with the id"),
        (["--batch-id", str(UUID(int=7)), "--all"], 2, "Give --batch-id or --all, not both"),
        (["--batch-id", "7"], 2, "--batch-id"),
    ],
)
def test_a_recalculation_that_cannot_be_is_refused(
    tmp_path: Path, migrated_url: str, words: list[str], code: int, said: str
) -> None:
    refused = run(tmp_path, "recalculate-progress", *words, DATABASE_URL=migrated_url)
    assert refused.returncode == code
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr


async def test_it_shows_the_state_of_accurates_webhooks(tmp_path: Path, migrated_url: str, database: Database) -> None:
    events = [event(databaseId=2886480), event(databaseId=2886480), event(databaseId=None)]
    await receive_events(database, json.dumps(events).encode(), owners={}, forward=False, wake=False)
    async with database.write() as repositories:
        heard_at = datetime.now(UTC) - timedelta(hours=1)
        await repositories.webhook_processing.store_last_heard({(1443290, "ITEM"): heard_at})
    told = run(tmp_path, "accurate", DATABASE_URL=migrated_url)
    assert told.returncode == 0, told.stderr
    heard, *rest = told.stdout.splitlines()
    assert re.fullmatch(r"last event of database 1443290, ITEM: \d{4} s ago", heard)
    assert rest == [
        "unassigned, of database 2886480, not in ACCURATE_DATABASES: 2", "unassigned, without a database: 1",
        "oldest pending seconds: -", "dead: 0", "conflicts: 0", "to pass on: 0",
        "subscription days left: -", "renewal failures: 0", "renewal error: -",
    ]  # fmt: skip


async def test_it_shows_and_moves_the_owner_of_a_gtin(tmp_path: Path, migrated_url: str, plant: Plant) -> None:
    await plant.order(1, gtin="04006381333931")
    owner, other = plant.caller.organisation_id, uuid4()
    words = ("gs1-owner", "--gtin", "4006381333931")
    shown, moved, prefix = (
        run(tmp_path, *more, DATABASE_URL=migrated_url)
        for more in (words, (*words, "--to", str(other)), ("gs1-owner", "--prefix", "899123"))
    )
    assert shown.stdout == (
        f"the GTIN 04006381333931 belongs to organisation {owner}; 1 of its batches have such a GTIN.\n"
    )
    assert moved.stdout.splitlines() == [
        f"the GTIN 4006381333931 moved from organisation {owner} to {other}.",
        f"1 batches of {owner} keep such a GTIN. Their printed labels do not change.",
    ]
    assert "No organisation has claimed the prefix 899123" in prefix.stderr
    for wrong, code in ((["--gtin", "1"], 1), (["--gtin", "1", "--prefix", "8991"], 2), ([], 2)):
        refused = run(tmp_path, "gs1-owner", *wrong, DATABASE_URL=migrated_url)
        assert (refused.returncode, "Traceback" in refused.stderr) == (code, False)


def test_a_server_answers_and_ends_in_good_order(tmp_path: Path, migrated_url: str) -> None:
    port = free_port()
    with started(tmp_path, "serve", "--port", str(port), DATABASE_URL=migrated_url) as server:
        assert wait_for(f"http://127.0.0.1:{port}/readyz").status_code == 200
        server.send_signal(signal.SIGTERM)
        assert server.wait(HANG_SECONDS) == 0


def test_a_worker_answers_those_who_watch_it_and_nobody_else(tmp_path: Path, migrated_url: str) -> None:
    port = free_port()
    with started(tmp_path, "worker", "--port", str(port), DATABASE_URL=migrated_url) as worker:
        address = f"http://127.0.0.1:{port}"
        assert wait_for(f"{address}/healthz").status_code == 200
        assert wait_for(f"{address}/readyz").status_code == 200
        assert 'qrtrack_queue_depth{kind="reverse_job"}' in wait_for(f"{address}/metrics").text
        assert wait_for(f"{address}/api/manufacturer/batches").status_code == 404
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(HANG_SECONDS) == 0


@pytest.mark.parametrize("command", ["serve", "worker"])
def test_a_process_that_is_there_before_its_database_waits_for_it(
    tmp_path: Path, migrated_url: str, command: str
) -> None:
    address = make_url(migrated_url)
    sockets = tmp_path / "sockets"
    port, url = free_port(), address.update_query_dict({"host": str(sockets)}).render_as_string()
    with started(tmp_path, command, "--port", str(port), DATABASE_URL=url) as process:
        until_said(process, "waiting for it")
        sockets.symlink_to(str(address.query["host"]))
        assert wait_for(f"http://127.0.0.1:{port}/readyz").status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(HANG_SECONDS) == 0


@pytest.mark.parametrize("words", [["serve"], ["worker"], ["worker", "--port", "0"]], ids=" ".join)
def test_a_process_that_waits_for_its_database_ends_when_it_is_told_to(tmp_path: Path, words: list[str]) -> None:
    with started(tmp_path, *words, DATABASE_URL=f"postgresql://qrtrack@127.0.0.1:{free_port()}/qrtrack") as process:
        until_said(process, "waiting for it")
        assert process.stderr is not None
        process.send_signal(signal.SIGTERM)
        assert process.wait(HANG_SECONDS) == 0
        assert "Traceback" not in process.stderr.read()


@pytest.mark.parametrize("words", [["serve"], ["worker"], ["sandbox"]], ids=" ".join)
def test_a_port_in_use_ends_the_start_with_one_line_before_anything_is_started(
    tmp_path: Path, words: list[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run(tmp_path, *words, "--port", port)
    advice = "is in use by another program. Stop that program, or choose another port with --port."
    assert done.stderr == f"qrtrack: Port {port} on 127.0.0.1 {advice}\n"
    assert done.returncode == 2
    assert not (tmp_path / "var/postgresql").exists(), "the port is looked at first"


@pytest.mark.parametrize(
    ("host", "said"),
    [("203.0.113.9", "does not belong to this machine"), ("nowhere.invalid", "The host nowhere.invalid is unknown")],
)
@pytest.mark.parametrize("command", ["serve", "worker", "sandbox"])
def test_a_host_that_cannot_be_opened_ends_the_start_with_one_line(
    tmp_path: Path, command: str, host: str, said: str
) -> None:
    done = run(tmp_path, command, "--host", host, "--port", "8000")
    assert done.returncode == 2
    assert said in done.stderr
    assert "Correct --host." in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_port_that_the_system_chooses_is_named(tmp_path: Path, migrated_url: str) -> None:
    with started(tmp_path, "serve", "--port", "0", "--host", "localhost", DATABASE_URL=migrated_url) as server:
        assert server.stderr is not None
        serving = next(line for line in server.stderr if "serving" in line)
        [address] = re.findall(r"address=(http://localhost:[1-9]\d*)", serving)
        assert wait_for(f"{address}/healthz").status_code == 200


def test_the_version_is_that_of_the_package(tmp_path: Path) -> None:
    done = run(tmp_path, "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"qrtrack {version('qrtrack')}\n", "")
    assert not (tmp_path / "var").exists()


def test_a_token_says_who_it_is_for_and_with_which_secret_it_is_signed(tmp_path: Path) -> None:
    organisation = str(uuid4())
    first = run(tmp_path, "token", "--org", organisation, JWT_SECRET="")
    folder, kept = tmp_path / "var/secrets", tmp_path / "var/secrets/jwt_secret"
    claims = jwt.decode(first.stdout.strip(), kept.read_text().strip(), algorithms=["HS256"])
    assert f"JWT_SECRET is not set, and there was none in {folder}: made a new one there" in first.stderr
    assert f"an invented user, {claims['sub']}." in first.stderr
    assert f"Signed with the secret in {kept}. A server with another JWT_SECRET refuses the token." in first.stderr

    again = run(tmp_path, "token", "--org", organisation, "--user", claims["sub"], JWT_SECRET="")
    assert "made" not in again.stderr
    assert "invented" not in again.stderr
    assert f"Signed with the secret in {kept}." in again.stderr

    given = run(tmp_path, "token", "--org", organisation)
    jwt.decode(given.stdout.strip(), SECRET, algorithms=["HS256"])
    assert f"Signed with JWT_SECRET of the environment or of {tmp_path}/.env." in given.stderr


@pytest.mark.parametrize("command", ["prune", "recalculate-progress", "accurate"])
def test_a_command_in_another_folder_says_so_and_makes_no_database_there(tmp_path: Path, command: str) -> None:
    done = run(tmp_path, command)
    assert done.returncode == 1
    assert f"Database: the embedded PostgreSQL in {tmp_path}/var" in done.stderr
    assert f"There is no database in {tmp_path}/var. Run the command in the folder of the installation" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "var/postgresql").exists()


@pytest.mark.parametrize("command", ["migrate", "prune", "recalculate-progress", "accurate"])
def test_a_command_names_the_database_that_it_works_on_without_the_password(
    tmp_path: Path, migrated_url: str, command: str
) -> None:
    url = make_url(migrated_url).set(password="hidden-here")
    done = run(tmp_path, command, DATABASE_URL=url.render_as_string(hide_password=False))
    assert done.returncode == 0, done.stderr
    assert f"Database: {url.database} on {url.query['host']}:5432 (DATABASE_URL)" in done.stderr
    assert "hidden-here" not in done.stderr + done.stdout


def test_a_data_folder_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("a file")
    for words in (["prune"], ["migrate"], ["token", "--org", str(uuid4())], ["serve", "--port", "0"]):
        done = run(tmp_path, *words, JWT_SECRET="")
        assert done.returncode == 1
        assert str(tmp_path / "var") in done.stderr
        assert "Traceback" not in done.stderr
