"""Fixtures for docs/backup.md: a backup of a plant that has packed half a batch and paid once."""

import asyncio
import re
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from plant import MadeBatch, Plant
from process import run, settings_of
from qrtrack.postgresql import embedded
from qrtrack.runtime import open_runtime
from qrtrack.services.packing.codes import reveal_codes
from ticking import HANG_SECONDS
from treasury import Treasury

PAGE = (Path(__file__).parents[2] / "docs/backup.md").read_text()


STATEMENTS = re.findall(r"```sql\n(.*?);\n *```", PAGE, re.DOTALL)


[RESTORE] = re.findall(r"qrtrack (restore --skip.*) qrtrack\.dump", PAGE)


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


@pytest.fixture
async def dump(plant: Plant, treasury: Treasury, migrated_url: str, tmp_path: Path) -> Path:
    """A backup file that the command wrote: of a plant that has packed half a batch and paid once."""
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


@asynccontextmanager
async def held_table(url: str) -> AsyncIterator[Any]:
    """Locks qr_codes during the block, so that a backup waits. Yields the connection that holds the lock."""
    driver = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        await driver.execute("BEGIN; LOCK TABLE qr_codes IN ACCESS EXCLUSIVE MODE")
        yield driver
    finally:
        await driver.close()


async def waits(driver: Any) -> None:
    """Waits until a pg_dump waits for the table."""
    query = "SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE 'LOCK TABLE%' AND wait_event_type = 'Lock'"
    async with asyncio.timeout(HANG_SECONDS):
        while not await driver.fetchval(query):
            await asyncio.sleep(0.05)
            await driver.execute("SELECT pg_stat_clear_snapshot()")


@pytest.fixture
def restored_here(dump: Path, tmp_path: Path) -> Iterator[str]:
    """Follows the page on a new embedded database, and yields its address."""
    done = run(tmp_path, *RESTORE.split(), str(dump))
    assert done.returncode == 0, done.stderr
    assert "Restored, at revision" in done.stdout
    with embedded.start(tmp_path / "var", durable=False) as server:
        yield server.url()


async def goes_on(restored: str, plant: Plant, treasury: Treasury, folder: Path) -> None:
    """Checks that a restored plant packs what waited, opens its root keys, and gives out no number twice."""
    [batch] = await plant.sql("SELECT id, order_id, uniq_code FROM qr_batches")
    [attempt] = await treasury.attempts()
    async with open_runtime(settings_of(restored, folder)) as runtime:
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
