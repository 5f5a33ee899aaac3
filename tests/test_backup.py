"""docs/backup.md is followed to the letter: a dump, another server, the page's own statements, and it goes on."""

import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from plant import MadeBatch, Plant
from process import TENANT_ROLE, settings_of
from qrtrack import embedded, schema_revision
from qrtrack.domain.root_keys import SealBroken
from qrtrack.runtime import open_runtime
from qrtrack.services.contents import reveal_codes
from qrtrack.services.secret_key import SecretKeyChanged
from treasury import Treasury

PAGE = (Path(__file__).parents[1] / "docs/backup.md").read_text()
STATEMENTS = re.findall(r"```sql\n(.*?);\n *```", PAGE, re.DOTALL)


def statement(*words: str) -> str:
    [found] = [str(each) for each in STATEMENTS if all(word in each for word in words)]
    return found


def client(name: str, *options: str, url: str) -> None:
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    done = subprocess.run(
        [embedded._binary(name), *options, f"--dbname={plain}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


async def execute(url: str, *statements: str) -> None:
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        for each in statements:
            await connection.execute(text(each))
    await engine.dispose()


@pytest.fixture
async def dump(plant: Plant, treasury: Treasury, migrated_url: str, tmp_path: Path) -> Path:
    """Of a plant that has packed half a batch and paid once."""
    batch = await plant.prepared(10, units_per_case=5)
    await plant.pack(batch)
    assert (await treasury.dispatch()).status_code == 200
    file = tmp_path / "qrtrack.dump"
    client("pg_dump", "--format=custom", f"--file={file}", url=migrated_url)
    return file


@pytest.fixture
async def restored(dump: Path, tmp_path: Path) -> AsyncIterator[str]:
    """The address of a new server on which the page was followed."""
    with embedded.start(tmp_path / "elsewhere", durable=False) as server:
        url = server.url("restored")
        made = statement("CREATE ROLE qrtrack_tenant").replace("qrtrack_tenant", TENANT_ROLE)
        await execute(url, made, f"GRANT {TENANT_ROLE} TO CURRENT_USER")
        client("pg_restore", "--no-owner", str(dump), url=url)
        engine = create_async_engine(url)
        await schema_revision.migrate(engine, tenant_role=TENANT_ROLE)
        await engine.dispose()
        await execute(url, statement("setval"), statement("qr_serial_counters"))
        yield url


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


def test_all_statements_of_the_page_are_tried_here() -> None:
    assert len(STATEMENTS) == 5
