"""docs/backup.md on servers of providers, after restores beside the old database, with broken files and other keys."""

import os
import pwd
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import asyncpg
import pytest
from sqlalchemy import make_url

from backup_page import RESTORE, execute, goes_on, held_table, statement, waits
from certificates import Authority
from cluster import enterable
from plant import MadeBatch, Plant
from process import free_port, run, settings_of, started
from qrtrack.domain.root_keys import SealBroken
from qrtrack.postgresql import embedded, schema_revision
from qrtrack.runtime import open_runtime
from qrtrack.services.packing.codes import reveal_codes
from qrtrack.services.secret_key import SecretKeyChanged
from treasury import Treasury

PASSWORD = "p w@:/%?#x"


OWNER = "app"


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


@pytest.fixture(params=["18", "15"])
async def restored(
    request: pytest.FixtureRequest, dump: Path, tmp_path: Path, short_folder: Path
) -> AsyncIterator[str]:
    """The address of a new database of a provider, by network, on which the page was followed."""
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
    await goes_on(restored, plant, treasury, tmp_path)


async def test_with_another_secret_key_packing_goes_on_and_root_keys_do_not_open(
    restored_here: str, plant: Plant, tmp_path: Path
) -> None:
    [batch] = await plant.sql("SELECT id, order_id, uniq_code FROM qr_batches")
    settings = settings_of(restored_here, tmp_path, secret_key="another-secret-key-of-32-characters")
    with pytest.raises(SecretKeyChanged):
        async with open_runtime(settings):
            pass
    await execute(restored_here, statement("secret_key_fingerprint"))
    async with open_runtime(settings) as lost:
        again = Plant(lost, plant.caller, batch.order_id)
        boxes = await again.sql("SELECT master_code FROM qr_master_codes ORDER BY case_number")
        made = MadeBatch(batch.id, batch.order_id, batch.uniq_code, None, None, [box.master_code for box in boxes])
        await again.pack(made, 1)
        asked: dict[str, Any] = {"batch_id": batch.id, "status": None, "after": 0, "limit": 10}
        with pytest.raises(SealBroken, match="another SECRET_KEY than when the batch was made"):
            await reveal_codes(lost.database, caller=again.caller, keys=lost.keys, **asked)


async def test_an_existing_backup_is_kept_unless_overwrite_is_given(
    dump: Path, tmp_path: Path, migrated_url: str
) -> None:
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


@pytest.mark.parametrize(
    ("revision", "said"),
    [
        ("9999_later", "made by a newer version (revision 9999_later): install that version."),
        (
            "20261126_interrupted",
            "made by a development version from before the first release (revision 20261126_interrupted): restore it",
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


async def test_a_server_newer_than_the_tools_ends_the_backup_with_one_line(
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
