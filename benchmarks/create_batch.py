"""Creating a batch: from the request to packable, then hashing beside bare bcrypt on the same cores.

Bars: 10,000 codes packable 0.5 s after the request, 1,000,000 after 20 s; hashing at least 0.9 of bare `bcrypt`.
Packable means that every code and case exists: `codes_created_at` is set. The clock runs from the call of the use case,
with a standing worker. For information, one raw statement that inserts as many rows into an identical table, without
drawing, sealing and digesting their keys. Hashing is a whole batch by the worker, at the cost of production, beside
`bcrypt.hashpw` in as many threads of the same niceness: what else runs on the machine takes from both alike.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import median
from uuid import UUID, uuid4

import bcrypt

from benchmarks.ground import Ground, alternate, open_ground, timed, until
from benchmarks.report import Report
from benchmarks.seed import PREFIXES
from qrtrack.domain.packing.batches import NewBatch, SerialMode, Variant
from qrtrack.runtime import BACKGROUND_NICENESS
from qrtrack.services.packing.batches import CreatedBatch, create_batch

RAW_TABLE = """
CREATE TABLE raw_codes (LIKE qr_codes INCLUDING ALL);
ALTER TABLE raw_codes ADD FOREIGN KEY (batch_id) REFERENCES qr_batches (id),
    ADD FOREIGN KEY (batch_id, master_code_id) REFERENCES qr_master_codes (batch_id, id);
"""
RAW_CODES = """
INSERT INTO raw_codes (batch_id, manufacturer_org_id, sequence_number, code, root_key_digest, root_key_sealed)
SELECT $1, $2, number, 'RAW' || lpad(number::text, GREATEST(6, length(number::text)), '0'),
    uuid_send(gen_random_uuid()), uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())
FROM generate_series(1, $3::int) AS number
"""
SIZES = ((10_000, 9, 0.5), (1_000_000, 3, 20.0))
# Eight chunks: with fewer, a thread that has none left to take would idle through much of the round.
KEYS = 800


async def run(*, full: bool) -> Report:
    report = Report("create_batch")
    async with open_ground() as ground:
        await ground.bare.execute(RAW_TABLE)
        for quantity, rounds, limit in SIZES:
            await _creating(ground, report, quantity, rounds + 2 * full, limit)
        await _hashing(ground, report, KEYS * (1 + full))
        report.publish(ground.machine)
    return report


async def _creating(ground: Ground, report: Report, quantity: int, rounds: int, limit: float) -> None:
    async with ground.working(creating=ground.runtime.settings.creating_slots):
        ours, raw = await alternate(
            rounds, partial(_our_batch, ground, quantity), partial(_raw_codes, ground, quantity)
        )
    report.at_most(f"{quantity:,} codes, request to packable", median(ours), "s", limit, ours)
    report.beside(f"{quantity:,} codes, beside one raw INSERT, no bar", ours, raw)


async def _our_batch(ground: Ground, quantity: int) -> float:
    await _empty(ground)
    created: list[CreatedBatch] = []

    async def request_to_packable() -> None:
        created.append(await _order(ground, quantity))
        await until(_packable(ground, created[0].batch_id))

    elapsed = await timed(request_to_packable)
    found = await ground.bare.fetchval("SELECT count(*) FROM qr_codes WHERE batch_id = $1", created[0].batch_id)
    assert found == quantity
    return elapsed


async def _order(ground: Ground, quantity: int) -> CreatedBatch:
    new = NewBatch(
        order_id=uuid4(),
        product_name="Gold 1 g",
        serial_prefix=next(PREFIXES),
        serial_mode=SerialMode.SEQUENTIAL,
        units_per_case=100,
        variants=(Variant(None, quantity),),
    )
    return await create_batch(ground.runtime.database, caller=ground.caller, new=new)


def _packable(ground: Ground, batch_id: UUID) -> Callable[[], Awaitable[object]]:
    return lambda: ground.bare.fetchval("SELECT codes_created_at IS NOT NULL FROM qr_batches WHERE id = $1", batch_id)


async def _raw_codes(ground: Ground, quantity: int) -> float:
    await _empty(ground)
    created = await _order(ground, 1)
    return await timed(
        partial(ground.bare.execute, RAW_CODES, created.batch_id, ground.organisation, quantity, timeout=600)
    )


async def _empty(ground: Ground) -> None:
    """Nothing of an earlier round is left, and no chunk of it under way."""
    waiting = "SELECT count(*) = 0 FROM qr_batch_stages WHERE stage = 'creating' AND status IN ('queued', 'running')"
    await until(lambda: ground.bare.fetchval(waiting))
    await ground.bare.execute("TRUNCATE qr_batches, raw_codes CASCADE")
    await ground.settle()


async def _hashing(ground: Ground, report: Report, keys: int) -> None:
    ours, bare = await alternate(2, partial(_our_hashes, ground, keys), partial(_bare_hashes, ground, keys))
    report.speed_at_least(f"hashing {keys} keys beside bare bcrypt", ours, bare, 0.9)
    report.note(f"hashing: {keys / median(ours):.1f} keys/s, bare {keys / median(bare):.1f} keys/s")


async def _our_hashes(ground: Ground, keys: int) -> float:
    async with ground.working(creating=ground.runtime.settings.creating_slots):
        await _empty(ground)
        batch = await _order(ground, keys)
        await until(_packable(ground, batch.batch_id))

    async def hash_all() -> None:
        async with ground.working(hashing=ground.runtime.settings.hash_threads):
            await until(lambda: ground.bare.fetchval("SELECT ready_at IS NOT NULL FROM qr_batches"), pause=0.02)

    return await timed(hash_all)


async def _bare_hashes(ground: Ground, keys: int) -> float:
    threads, cost = ground.runtime.settings.hash_threads, ground.runtime.settings.bcrypt_cost
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(threads, initializer=_give_way) as pool:
        return await timed(
            lambda: asyncio.gather(
                *(loop.run_in_executor(pool, bcrypt.hashpw, os.urandom(22).hex().encode(), bcrypt.gensalt(cost))
                  for _ in range(keys))
            )
        )  # fmt: skip


def _give_way() -> None:
    os.setpriority(os.PRIO_PROCESS, 0, BACKGROUND_NICENESS)
