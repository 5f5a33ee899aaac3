"""docs/backup.md is followed to the letter: a backup, another server, numbers that are passed over, and it goes on."""

import asyncio
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import asyncpg
import pytest
from sqlalchemy import make_url

from certificates import Authority
from cluster import enterable
from plant import MadeBatch, Plant
from process import free_port, run, settings_of, started
from qrtrack import embedded, schema_revision
from qrtrack.domain.root_keys import SealBroken
from qrtrack.postgres_tools import _Script
from qrtrack.runtime import open_runtime
from qrtrack.services.packing.codes import reveal_codes
from qrtrack.services.secret_key import SecretKeyChanged
from ticking import HANG_SECONDS
from treasury import Treasury

PAGE = (Path(__file__).parents[1] / "docs/backup.md").read_text()
STATEMENTS = re.findall(r"```sql\n(.*?);\n *```", PAGE, re.DOTALL)
[RESTORE] = re.findall(r"qrtrack (restore --skip.*) qrtrack\.dump", PAGE)
PASSWORD = "p w@:/%?#x"
OWNER = "app"


def statement(*words: str) -> str:
    [found] = [str(each) for each in STATEMENTS if all(word in each for word in words)]
    return found


async def execute(url: str, *statements: str) -> None:
    driver = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        async with driver.transaction():
            for each in statements:
                await driver.execute(each)
    finally:
        await driver.close()


@contextmanager
def server_of_a_provider(folder: Path, *, version: str) -> Iterator[tuple[str, int]]:
    """Reached by network, with a password and, from Debian's 15, with TLS only: its host and port. The wheel's server
    knows no TLS. The owner of the database is no superuser.
    """
    own = Path(embedded._binary("postgres")).parent
    binaries = enterable(own) if version == "18" else Path("/usr/lib/postgresql/15/bin")
    if not (binaries / "initdb").exists():
        pytest.skip(f"needs the system package postgresql-{version}")
    data, port = folder / "data", free_port()
    settings = f"-c listen_addresses=127.0.0.1 -p {port} -c unix_socket_directories={folder} -c fsync=off"
    if version == "15":
        Authority(folder).server("127.0.0.1")
        settings += f" -c ssl=on -c ssl_cert_file={folder}/127.0.0.1.pem -c ssl_key_file={folder}/127.0.0.1.pem"
    user = pwd.getpwuid(os.geteuid()) if os.geteuid() else pwd.getpwnam("nobody")
    for path in (folder, *folder.iterdir()):
        os.chown(path, user.pw_uid, user.pw_gid)
        path.chmod(0o700)
    as_user: dict[str, Any] = {} if os.geteuid() else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

    def tool(name: str, *arguments: str) -> None:
        command = [str(binaries / name), *arguments]
        done = subprocess.run(
            command, cwd="/", env={"LC_ALL": "C"}, check=False, capture_output=True, text=True, **as_user
        )
        assert done.returncode == 0, done.stdout + done.stderr

    tool("initdb", "-D", str(data), "--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C")
    kind = "hostssl" if version == "15" else "host"
    (data / "pg_hba.conf").write_text(f"local all postgres trust\n{kind} all all 127.0.0.1/32 scram-sha-256\n")
    tool("pg_ctl", "-D", str(data), "start", "--wait", f"--log={folder}/log", f"--options={settings}")
    try:
        quoted = PASSWORD.replace("'", "''")
        script = f"CREATE ROLE {OWNER} LOGIN CREATEROLE PASSWORD '{quoted}'"
        for each in (script, f"CREATE DATABASE restored OWNER {OWNER}"):
            tool("psql", "-h", str(folder), "-p", str(port), "-U", "postgres", "-c", each)
        yield "127.0.0.1", port
    finally:
        tool("pg_ctl", "-D", str(data), "stop", "--wait", "--mode=immediate")


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A socket's address is short, and a server that runs as nobody must be able to enter."""
    folder = Path(mkdtemp(prefix="qrtrack-backup-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
async def dump(plant: Plant, treasury: Treasury, migrated_url: str, tmp_path: Path) -> Path:
    """Of a plant that has packed half a batch and paid once, by the command."""
    batch = await plant.prepared(10, units_per_case=5)
    await plant.pack(batch)
    assert (await treasury.dispatch()).status_code == 200
    done = run(tmp_path, "backup", "qrtrack.dump", DATABASE_URL=migrated_url)
    assert done.returncode == 0, done.stderr
    file = tmp_path / "qrtrack.dump"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert re.fullmatch(r"qrtrack\.dump: [\d.]+ kB, at revision \S+\. SECRET_KEY is not in it: keep .*\n", done.stdout)
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []
    return file


@pytest.fixture(params=["embedded", "18", "15"])
async def restored(
    request: pytest.FixtureRequest, dump: Path, tmp_path: Path, short_folder: Path
) -> AsyncIterator[str]:
    """The address of a new database on which the page was followed: of the program's own server in a new folder, or of
    a provider's by network.
    """
    if request.param == "embedded":
        done = run(tmp_path, *RESTORE.split(), str(dump))
        assert done.returncode == 0, done.stderr
        assert "Restored, at revision" in done.stdout
        with embedded.start(tmp_path / "var", durable=False) as server:
            yield server.url()
        return
    with server_of_a_provider(short_folder, version=request.param) as (host, port):
        url = make_url("postgresql://").set(
            username=OWNER, password=PASSWORD, host=host, port=port, database="restored",
            query={"sslmode": "require"} if request.param == "15" else {},
        )  # fmt: skip
        address = url.render_as_string(hide_password=False)
        done = run(tmp_path, *RESTORE.split(), str(dump), DATABASE_URL=address)
        assert done.returncode == 0, done.stderr
        assert f"Database: restored on {host}:{port} (DATABASE_URL)" in done.stderr
        # A backup of this server, too, is a whole one.
        again = run(tmp_path, "backup", "again.dump", DATABASE_URL=address)
        assert again.returncode == 0, again.stderr
        refused = run(tmp_path, "restore", "again.dump", DATABASE_URL=address)
        assert refused.returncode == 1
        assert "The database is not empty: it holds" in refused.stderr
        assert "CREATE DATABASE" in refused.stderr
        yield address


async def test_a_restored_plant_goes_on_and_gives_out_no_number_twice(
    restored: str, plant: Plant, treasury: Treasury, tmp_path: Path
) -> None:
    [batch] = await plant.sql("SELECT id, order_id, uniq_code FROM qr_batches")
    [attempt] = await treasury.attempts()
    async with open_runtime(settings_of(restored, tmp_path)) as runtime:
        again = Plant(runtime, plant.caller, batch.order_id)
        boxes = await again.sql("SELECT master_code FROM qr_master_codes ORDER BY case_number")
        made = MadeBatch(batch.id, batch.order_id, batch.uniq_code, None, None, [box.master_code for box in boxes])
        # What waited in the queue is packed under row-level security, as if nothing had been.
        assert (await again.pack(made, 1)).linked_codes == [f"SKA{number:06d}" for number in range(6, 11)]
        keys = await reveal_codes(
            runtime.database, caller=again.caller, keys=runtime.keys, batch_id=batch.id, status=None, after=0, limit=10
        )
        assert len({code.root_key for code in keys}) == 10
        assert (await again.order(5)).first_code == "SKA1000011"
        [next_id] = await again.sql("SELECT nextval(pg_get_serial_sequence('t_akselgate_transaction_log', 'id')) AS id")
        assert next_id.id > attempt.id + 99_999
        [planned] = await again.sql("SELECT reltuples FROM pg_class WHERE relname = 'qr_codes'")
        assert planned.reltuples == 10, "plans rest on what is there"


@pytest.mark.parametrize("restored", ["embedded"], indirect=True)
async def test_with_another_secret_key_packing_goes_on_and_root_keys_do_not_open(
    restored: str, plant: Plant, tmp_path: Path
) -> None:
    [batch] = await plant.sql("SELECT id, order_id, uniq_code FROM qr_batches")
    settings = settings_of(restored, tmp_path, secret_key="another-secret-key-of-32-characters")
    with pytest.raises(SecretKeyChanged):
        async with open_runtime(settings):
            pass
    await execute(restored, statement("secret_key_fingerprint"))
    async with open_runtime(settings) as lost:
        again = Plant(lost, plant.caller, batch.order_id)
        boxes = await again.sql("SELECT master_code FROM qr_master_codes ORDER BY case_number")
        made = MadeBatch(batch.id, batch.order_id, batch.uniq_code, None, None, [box.master_code for box in boxes])
        await again.pack(made, 1)
        asked: dict[str, Any] = {"batch_id": batch.id, "status": None, "after": 0, "limit": 10}
        with pytest.raises(SealBroken, match="start the service with the SECRET_KEY"):
            await reveal_codes(lost.database, caller=again.caller, keys=lost.keys, **asked)


async def test_what_awaits_its_callbacks_is_found_before_the_key_is_changed(plant: Plant, treasury: Treasury) -> None:
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


async def test_a_name_that_exists_is_kept_unless_told_otherwise(dump: Path, tmp_path: Path, migrated_url: str) -> None:
    before = dump.read_bytes()
    refused = run(tmp_path, "backup", str(dump), DATABASE_URL=migrated_url)
    assert refused.returncode == 1
    assert f"{dump} exists already. Choose another name, or give --overwrite." in refused.stderr
    assert dump.read_bytes() == before
    # Two backups of one second may be equal.
    dump.write_bytes(b"something else")
    assert run(tmp_path, "backup", "--overwrite", str(dump), DATABASE_URL=migrated_url).returncode == 0
    assert dump.read_bytes().startswith(b"PGDMP")
    for file, said in ((tmp_path, "is not a file"), (tmp_path / "no/x.dump", "cannot be written: No such file")):
        refused = run(tmp_path, "backup", str(file), DATABASE_URL=migrated_url)
        assert refused.returncode == 1
        assert said in refused.stderr


@asynccontextmanager
async def held_table(url: str) -> AsyncIterator[Any]:
    """Whoever reads the table waits, so that a backup stands still; the connection of who holds it."""
    driver = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        await driver.execute("BEGIN; LOCK TABLE qr_codes IN ACCESS EXCLUSIVE MODE")
        yield driver
    finally:
        await driver.close()


async def waits(driver: Any) -> None:
    """Until a pg_dump waits for the table."""
    query = "SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE 'LOCK TABLE%' AND wait_event_type = 'Lock'"
    async with asyncio.timeout(HANG_SECONDS):
        while not await driver.fetchval(query):
            await asyncio.sleep(0.05)
            await driver.execute("SELECT pg_stat_clear_snapshot()")


async def test_a_backup_that_is_ended_half_way_leaves_no_file(tmp_path: Path, migrated_url: str) -> None:
    async with held_table(migrated_url) as driver:
        with started(tmp_path, "backup", "half.dump", DATABASE_URL=migrated_url) as process:
            await waits(driver)
            assert [path.suffix for path in tmp_path.iterdir() if "half" in path.name] == [".part"]
            process.send_signal(signal.SIGTERM)
            assert process.wait(HANG_SECONDS) != 0
    assert [path for path in tmp_path.iterdir() if "half" in path.name] == []


async def test_a_file_that_breaks_off_leaves_the_database_empty(dump: Path, tmp_path: Path) -> None:
    whole = dump.read_bytes()
    for kept in (0.1, 0.9):
        (tmp_path / "cut.dump").write_bytes(whole[: int(len(whole) * kept)])
        done = run(tmp_path, "restore", "cut.dump")
        assert done.returncode == 1
        assert "end of file" in done.stderr
        assert "Traceback" not in done.stderr
    whole_one = run(tmp_path, "restore", str(dump))
    assert whole_one.returncode == 0, "it was still empty"
    assert "If anything was dispatched or ordered after the backup, read docs/backup.md" in whole_one.stdout


def test_what_is_no_backup_is_refused_before_a_database_is_made(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear auditor")
    for name in ("letter.txt", "."):
        done = run(tmp_path, "restore", name)
        assert done.returncode == 1
        assert f"{name} is not a complete backup" in done.stderr
        assert done.stderr.count("\n") == 2, done.stderr
    assert not (tmp_path / "var").exists()


@pytest.mark.parametrize(
    ("revision", "said"),
    [
        ("20990101_of_the_future", "made by a newer version (revision 20990101_of_the_future): install that version."),
        (
            "20261126_own_parents",
            "made by a development version from before the first release (revision 20261126_own_parents): restore it",
        ),
    ],
)
async def test_a_backup_of_another_version_is_refused(
    dump: Path, tmp_path: Path, migrated_url: str, revision: str, said: str
) -> None:
    newest = schema_revision._newest()
    try:
        await execute(migrated_url, f"UPDATE alembic_version SET version_num = '{revision}'")
        assert run(tmp_path, "backup", "other.dump", DATABASE_URL=migrated_url).returncode == 0
    finally:
        await execute(migrated_url, f"UPDATE alembic_version SET version_num = '{newest}'")
    done = run(tmp_path, "restore", "other.dump")
    assert done.returncode == 1
    assert said in done.stderr
    assert not (tmp_path / "var").exists()


async def test_a_server_that_is_newer_than_the_tools_is_one_line(
    tmp_path: Path, migrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wheel brings an older pg_dump too, to which our server is the newer one."""
    older = embedded._binary("pg_dump").replace("pginstall18", "pginstall")
    if not Path(older).exists():
        pytest.skip("the wheel has one version only")
    from qrtrack import backups
    from qrtrack.database import Database

    database = Database.connect(migrated_url, pool_size=1)
    wanted: dict[str, Any] = {"overwrite": False, "tell": lambda *_: None}
    try:
        monkeypatch.setattr(embedded, "tool", lambda _name: (older, embedded._environment()))
        with pytest.raises(backups.BackupFailed, match="server version mismatch"):
            await backups.back_up(database, tmp_path / "x.dump", **wanted)
        monkeypatch.setattr(backups, "NEWEST_SERVER", 14)
        with pytest.raises(
            backups.BackupFailed, match=r"The server is PostgreSQL \d+, and this qrtrack reads servers up to 14"
        ):
            await backups.back_up(database, tmp_path / "x.dump", **wanted)
    finally:
        await database.close()
    assert list(tmp_path.glob("*dump*")) == []


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


async def test_no_tool_sees_the_password(tmp_path: Path, migrated_url: str) -> None:
    """Neither on a command line nor in an environment, where it could be read while a backup runs."""
    url = make_url(migrated_url).set(password="hidden-here").render_as_string(hide_password=False)
    async with held_table(migrated_url) as driver:
        with started(tmp_path, "backup", "x.dump", DATABASE_URL=url):
            await waits(driver)
            tools = [each for each in Path("/proc").glob("[0-9]*") if is_tool_of(each, tmp_path)]
            assert tools
            for tool in tools:
                assert b"hidden-here" not in (tool / "cmdline").read_bytes() + (tool / "environ").read_bytes()


def is_tool_of(process: Path, folder: Path) -> bool:
    try:
        return b"/pg_dump\0" in (process / "cmdline").read_bytes() and (process / "cwd").readlink() == folder
    except OSError:
        return False


async def test_a_backup_is_restored_beside_its_own_database_under_another_role(dump: Path, tmp_path: Path) -> None:
    """As somebody does who tries a restore, or goes back to an older version, in the only cluster that they have."""
    assert run(tmp_path, "restore", str(dump)).returncode == 0
    with embedded.start(tmp_path / "var", durable=False) as server:
        url = server.url("beside")
        taken = run(tmp_path, "restore", str(dump), DATABASE_URL=url)
        assert taken.returncode == 1
        assert "holds rights in another database of this cluster" in taken.stderr
        done = run(tmp_path, "restore", str(dump), DATABASE_URL=url, DATABASE_TENANT_ROLE="beside_tenant")
        assert done.returncode == 0, done.stderr
        checked = run(tmp_path, "migrate", "--check", DATABASE_URL=url, DATABASE_TENANT_ROLE="beside_tenant")
        assert checked.returncode == 0, checked.stderr
        driver = await asyncpg.connect(url.replace("+asyncpg", ""))
        named = "SELECT DISTINCT rolname FROM pg_policy JOIN pg_roles ON pg_roles.oid = ANY (polroles)"
        try:
            assert [row["rolname"] for row in await driver.fetch(named)] == ["beside_tenant"]
        finally:
            await driver.close()


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
