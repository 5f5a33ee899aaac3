import asyncio
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from unittest.mock import patch
from uuid import UUID

import pytest
from passlib.hash import bcrypt
from structlog.testing import capture_logs

from plant import BY_KIND, Plant, killed_at
from qrtrack.database import Database, DatabaseUnavailable
from qrtrack.domain.claims import Claim, LeaseLost
from qrtrack.domain.identity import Caller
from qrtrack.domain.packing.batches import SerialMode
from qrtrack.domain.packing.numbering import random_tails
from qrtrack.domain.root_keys import ALPHABET, Hasher, KeyRing
from qrtrack.domain.stopping import StopSignal
from qrtrack.repositories import Repositories
from qrtrack.repositories.leased import LeasedRepository
from qrtrack.repositories.packing.batches import BatchRepository
from qrtrack.repositories.packing.code_creation import Chunk, CodeCreationRepository, NewCodes
from qrtrack.repositories.queues import CREATING, HASHING
from qrtrack.runtime import Runtime
from qrtrack.services.claims import claim_work
from qrtrack.services.packing import batches as batches_service
from qrtrack.services.packing import code_creation as code_creation_service
from qrtrack.services.packing.batches import batch_progress, describe_batch, retry_batch
from qrtrack.services.packing.code_creation import create_codes, hash_keys
from qrtrack.services.packing.codes import reveal_codes
from qrtrack.worker.execution import End, execute, run_next

STAGES = "qr_batch_stages"


@pytest.fixture
def chunks_of_ten() -> Iterator[None]:
    with (
        patch.object(batches_service, "CREATING_CHUNK", 10),
        patch.object(batches_service, "HASHING_CHUNK", 10),
        patch.object(code_creation_service, "HASHING_CHUNK", 10),
    ):
        yield


async def assert_exact(plant: Plant, batch_id: UUID, quantity: int, units_per_case: int = 100) -> None:
    """The check a plant makes: exactly N of everything, whatever happened on the way."""
    [codes] = await plant.sql(
        "SELECT count(*) AS codes, count(DISTINCT code) AS distinct_codes, count(DISTINCT root_key_digest) AS keys,"
        " count(DISTINCT root_key_sealed) AS sealed, min(sequence_number) AS first, max(sequence_number) AS last"
        " FROM qr_codes WHERE batch_id = :batch_id",
        batch_id=batch_id,
    )
    assert tuple(codes) == (quantity, quantity, quantity, quantity, 1, quantity)
    cases = await plant.sql(
        "SELECT case_number, expected_units FROM qr_master_codes WHERE batch_id = :batch_id ORDER BY case_number",
        batch_id=batch_id,
    )
    assert [case.case_number for case in cases] == list(range(1, -(-quantity // units_per_case) + 1))
    assert sum(case.expected_units for case in cases) == quantity
    [batch] = await plant.sql("SELECT items_created, codes_created_at FROM qr_batches WHERE id = :id", id=batch_id)
    assert batch.items_created == quantity
    assert batch.codes_created_at is not None


async def do_all(plant: Plant, kind: str) -> None:
    """Works off the kind as a worker would that is never told of its kills: leases run out, attempts are not spent."""
    queue = BY_KIND[kind].queue
    while claims := await claim_work(plant.runtime.database, queue, 1, lease_seconds=30):
        await plant.sql(f"UPDATE {queue.table} SET attempts = 1 WHERE status = 'running'")
        try:
            await BY_KIND[kind].run(plant.runtime, claims[0], StopSignal())
        except DatabaseUnavailable:
            await plant.expire(queue.table)


CREATING_STEPS = [
    (CodeCreationRepository, "get_chunk"),
    (CodeCreationRepository, "missing"),
    (CodeCreationRepository, "insert_codes"),
    (BatchRepository, "count_created"),
    (BatchRepository, "add_cases"),
    (Repositories, "wake_workers"),
    (LeasedRepository, "finish"),
]
HASHING_STEPS = [
    (CodeCreationRepository, "get_chunk"),
    (CodeCreationRepository, "keys_to_hash"),
    (CodeCreationRepository, "store_hashes"),
    (BatchRepository, "count_hashed"),
    (LeasedRepository, "finish"),
]


@pytest.mark.usefixtures("chunks_of_ten")
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(("owner", "step"), CREATING_STEPS, ids=lambda value: value if isinstance(value, str) else "")
async def test_a_worker_killed_at_any_step_of_creating_leaves_an_exact_batch(
    plant: Plant, owner: type, step: str, moment: str
) -> None:
    for call in range(1, 9):
        created = await plant.order(20, units_per_case=10)
        with killed_at(owner, step, call=call, moment=moment) as kill:
            await do_all(plant, "creating")
        await assert_exact(plant, created.batch_id, 20, 10)
        stages = await plant.sql(
            "SELECT stage, status, count(*) AS chunks FROM qr_batch_stages WHERE batch_id = :id GROUP BY 1, 2",
            id=created.batch_id,
        )
        assert sorted(map(tuple, stages)) == [("creating", "completed", 2), ("hashing", "queued", 2)]
        if not kill.done:
            assert call > 1
            return
    raise AssertionError("every call was killed: more of them were needed")


@pytest.mark.usefixtures("chunks_of_ten")
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(("owner", "step"), HASHING_STEPS, ids=lambda value: value if isinstance(value, str) else "")
async def test_a_worker_killed_at_any_step_of_hashing_leaves_every_key_hashed_once(
    plant: Plant, owner: type, step: str, moment: str
) -> None:
    for call in range(1, 9):
        created = await plant.order(20)
        await do_all(plant, "creating")
        with killed_at(owner, step, call=call, moment=moment) as kill:
            await do_all(plant, "hashing")
        [batch] = await plant.sql("SELECT status, keys_hashed FROM qr_batches WHERE id = :id", id=created.batch_id)
        assert tuple(batch) == ("ready", 20)
        [left] = await plant.sql("SELECT count(*) AS bare FROM qr_codes WHERE root_key_hash IS NULL")
        assert left.bare == 0
        if not kill.done:
            assert call > 1
            return
    raise AssertionError("every call was killed: more of them were needed")


async def test_a_batch_of_100_has_exactly_the_requested_codes(plant: Plant) -> None:
    batch = await plant.batch(100)
    await assert_exact(plant, batch.batch_id, 100)
    rows = await plant.sql("SELECT code, sequence_number FROM qr_codes ORDER BY sequence_number")
    assert [row.code for row in rows] == [f"SKA{number:06d}" for number in range(1, 101)]
    [uniq] = await plant.sql("SELECT count(DISTINCT uniq_code) AS codes FROM qr_batches")
    assert uniq.codes == 1
    assert len(batch.master_codes) == 1


@pytest.mark.usefixtures("chunks_of_ten")
async def test_a_late_worker_creates_nothing_not_even_a_part_of_its_chunk(plant: Plant, database: Database) -> None:
    """A part of a chunk lands when a drawn key is taken; from a late worker it would open a batch without cases."""
    created = await plant.order(10)
    [late] = await claim_work(database, CREATING, 1, lease_seconds=30)
    await plant.expire(STAGES)
    [held] = await claim_work(database, CREATING, 1, lease_seconds=30)
    insert = CodeCreationRepository.insert_codes

    partly = iter([True])

    async def all_but_one(self: Any, chunk: Chunk, drawn: NewCodes) -> int:
        rest = slice(int(next(partly, False)), None)
        part = NewCodes(drawn.sequences[rest], drawn.digests[rest], drawn.sealed[rest], drawn.tails)
        return await insert(self, chunk, part)

    with patch.object(CodeCreationRepository, "insert_codes", all_but_one), pytest.raises(LeaseLost):
        await create_codes(database, late, keys=plant.runtime.keys)
    [found] = await plant.sql("SELECT count(*) AS codes FROM qr_codes")
    assert found.codes == 0
    await create_codes(database, held, keys=plant.runtime.keys)
    await assert_exact(plant, created.batch_id, 10)


@pytest.mark.usefixtures("chunks_of_ten")
async def test_two_workers_at_once_on_one_chunk_create_it_once(plant: Plant, database: Database) -> None:
    created = await plant.order(10)
    [late] = await claim_work(database, CREATING, 1, lease_seconds=30)
    await plant.expire(STAGES)
    [held] = await claim_work(database, CREATING, 1, lease_seconds=30)
    ends = await asyncio.gather(
        *(create_codes(database, claim, keys=plant.runtime.keys) for claim in (late, held, late)),
        return_exceptions=True,
    )
    assert [type(end) for end in ends] == [LeaseLost, type(None), LeaseLost]
    await assert_exact(plant, created.batch_id, 10)


async def test_concurrent_batches_of_one_prefix_get_adjacent_ranges(plant: Plant) -> None:
    quantities = [7, 30, 100, 1, 64, 12, 33, 90, 5, 18, 2, 41]
    ordered = await asyncio.gather(*(plant.order(quantity) for quantity in quantities))
    await asyncio.gather(*(plant.work("creating") for _ in range(4)))
    for created, quantity in zip(ordered, quantities, strict=True):
        await assert_exact(plant, created.batch_id, quantity)
    rows = await plant.sql("SELECT first_number, quantity FROM qr_batches ORDER BY first_number")
    ends = [row.first_number + row.quantity for row in rows]
    assert [row.first_number for row in rows] == [1, *ends[:-1]]
    codes = await plant.sql("SELECT code FROM qr_codes ORDER BY code")
    assert [row.code for row in codes] == [f"SKA{number:06d}" for number in range(1, sum(quantities) + 1)]


async def test_random_codes_end_in_a_letter_and_are_too_many_to_guess(plant: Plant) -> None:
    batch = await plant.batch(300, serial_mode=SerialMode.RANDOM)
    assert (batch.first_code, batch.last_code) == (None, None)
    codes = [row.code for row in await plant.sql("SELECT code FROM qr_codes")]
    assert len(set(codes)) == 300
    assert all(re.fullmatch(f"SKA[{ALPHABET}]{{5,}}[A-Z]", code) for code in codes)
    lengths = {len(code) - 3 for code in codes}
    assert len(lengths) == 1
    assert 300 / (24 * 32 ** (lengths.pop() - 1)) < 1 / 10_000


async def test_random_tails_grow_with_all_random_codes_of_the_prefix(plant: Plant) -> None:
    await plant.order(1, serial_mode=SerialMode.RANDOM)
    await plant.sql("UPDATE qr_serial_counters SET random_codes = 500000")
    await plant.order(1, serial_mode=SerialMode.RANDOM)
    lengths = await plant.sql("SELECT random_tail_length AS tail FROM qr_batches ORDER BY id")
    assert lengths[0].tail < lengths[1].tail
    assert 500_001 / (24 * 32 ** (lengths[1].tail - 1)) < 1 / 10_000


@pytest.mark.usefixtures("chunks_of_ten")
async def test_a_random_code_that_exists_already_is_drawn_again(plant: Plant) -> None:
    first = await plant.batch(10, serial_mode=SerialMode.RANDOM)
    taken = [row.code[3:] for row in await plant.sql("SELECT code FROM qr_codes")]
    draws = iter([taken])

    def draw(number: int, length: int) -> list[str]:
        return next(draws, None) or random_tails(number, length)

    with patch.object(code_creation_service, "random_tails", draw):
        second = await plant.batch(10, serial_mode=SerialMode.RANDOM)
    for batch in (first, second):
        await assert_exact(plant, batch.batch_id, 10)


@pytest.mark.usefixtures("chunks_of_ten")
async def test_root_keys_are_unique_in_the_batch_also_when_chunks_draw_the_same(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two characters: 1024 keys for 150 codes, so that chunks draw keys of each other all the time. Once in 600 runs,
    # one of the codes would not get a free key in five draws.
    monkeypatch.setattr(code_creation_service, "DRAWS", 100)
    with patch.object(batches_service, "key_length", lambda _: 2):
        created = await plant.order(150)
    await asyncio.gather(*(plant.work("creating") for _ in range(4)))
    await assert_exact(plant, created.batch_id, 150)
    revealed = await reveal_codes(
        plant.runtime.database,
        caller=plant.caller,
        keys=plant.runtime.keys,
        batch_id=created.batch_id,
        status=None,
        after=0,
        limit=1000,
    )
    keys = {code.root_key for code in revealed}
    assert len(keys) == 150
    assert all(key is not None and re.fullmatch(f"[{ALPHABET}]{{2}}", key) for key in keys)


async def fail_all(plant: Plant, kind: str) -> list[tuple[End, str | None]]:
    """Every attempt of the kind, waiting for none of the delays."""
    ends = []
    # Tracebacks by the dozen take longer to write than all the work.
    with capture_logs():
        while outcomes := await plant.work(kind):
            ends += [(outcome.end, outcome.error) for outcome in outcomes]
            await plant.sql("UPDATE qr_batch_stages SET run_at = now() WHERE status = 'queued'")
    return ends


def torn(*_: Any) -> bytes:
    raise OSError("no paper")


async def test_a_chunk_is_tried_again_three_times_and_then_the_batch_has_failed_without_codes(plant: Plant) -> None:
    created = await plant.order(10)
    with patch.object(KeyRing, "prepare", torn):
        ends = await fail_all(plant, "creating")
    reason = "internal error (OSError); the service's log has the details"
    assert ends == [(End.RETRIED, reason)] * 3 + [(End.FAILED, reason)]
    [batch] = await plant.sql("SELECT status, error_message, items_created FROM qr_batches")
    assert tuple(batch) == ("failed", reason, 0)
    [left] = await plant.sql("SELECT (SELECT count(*) FROM qr_codes), (SELECT count(*) FROM qr_master_codes)")
    assert tuple(left) == (0, 0)
    [event] = await plant.sql("SELECT reason FROM trace_events WHERE action = 'batch.failed'")
    assert event.reason == reason
    # The numbers are skipped, not handed out again.
    assert (await plant.order(10)).first_code == "SKA000011"
    assert created.first_code == "SKA000001"


@pytest.mark.usefixtures("chunks_of_ten")
async def test_a_batch_that_fails_in_its_last_chunk_keeps_no_codes_and_a_retry_creates_all(
    plant: Plant, database: Database
) -> None:
    created = await plant.order(50, units_per_case=20)
    prepare, seen = KeyRing.prepare, 0

    def torn_later(self: KeyRing, *chunk: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen > 4:
            raise OSError("no paper")
        return prepare(self, *chunk)

    with patch.object(KeyRing, "prepare", torn_later):
        await fail_all(plant, "creating")
    [batch] = await plant.sql("SELECT status, items_created, (SELECT count(*) FROM qr_codes) AS codes FROM qr_batches")
    assert tuple(batch) == ("failed", 0, 0)
    assert (await retry_batch(database, caller=plant.caller, batch_id=created.batch_id)).status == "creating"
    await plant.work("creating")
    await assert_exact(plant, created.batch_id, 50, 20)
    assert created.first_code == "SKA000001"
    await plant.work("hashing")
    assert (await describe_batch(database, caller=plant.caller, batch_id=created.batch_id)).batch.status == "ready"


@pytest.mark.usefixtures("chunks_of_ten")
async def test_chunks_of_a_failed_batch_write_nothing(plant: Plant, database: Database) -> None:
    await plant.order(20)
    first, second = await claim_work(database, CREATING, 2, lease_seconds=30)
    outcome = None
    with patch.object(KeyRing, "prepare", torn), capture_logs():
        await plant.sql("UPDATE qr_batch_stages SET attempts = 4 WHERE id = :id", id=first.id)
        last_try = Claim(first.kind, first.id, first.token, first.organisation_id, 4)
        outcome = await execute(plant.runtime, BY_KIND["creating"], last_try, StopSignal())
    assert outcome.end is End.FAILED
    outcome = await execute(plant.runtime, BY_KIND["creating"], second, StopSignal())
    assert outcome.end is End.LOST
    [left] = await plant.sql("SELECT status, (SELECT count(*) FROM qr_codes) AS codes FROM qr_batches")
    assert tuple(left) == ("failed", 0)
    assert await plant.work("creating") == []


@pytest.mark.usefixtures("chunks_of_ten")
async def test_chunks_that_fail_together_do_not_deadlock(plant: Plant, database: Database) -> None:
    await plant.order(80)
    claims = await claim_work(database, CREATING, 8, lease_seconds=30)
    await plant.sql("UPDATE qr_batch_stages SET attempts = 4")
    last = [Claim(claim.kind, claim.id, claim.token, claim.organisation_id, 4) for claim in claims]
    counter = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    [before] = await plant.sql(counter)
    with patch.object(KeyRing, "prepare", torn), capture_logs():
        outcomes = await asyncio.gather(
            *(execute(plant.runtime, BY_KIND["creating"], claim, StopSignal()) for claim in last)
        )
    assert sorted({outcome.end for outcome in outcomes}) == [End.FAILED, End.LOST]
    await asyncio.sleep(0.05)
    [after] = await plant.sql(counter)
    assert after.deadlocks == before.deadlocks
    assert len(await plant.sql("SELECT 1 FROM trace_events WHERE action = 'batch.failed'")) == 1


@pytest.mark.usefixtures("chunks_of_ten")
async def test_a_hashing_failure_leaves_the_batch_packable_and_a_retry_makes_it_ready(
    plant: Plant, database: Database
) -> None:
    batch = await plant.batch(50, units_per_case=25)
    unseal, seen = KeyRing.unseal, 0

    def torn_later(self: KeyRing, *place: Any) -> str:
        nonlocal seen
        seen += 1
        if seen > 20:
            raise OSError("no paper")
        return unseal(self, *place)

    with patch.object(KeyRing, "unseal", torn_later):
        await fail_all(plant, "hashing")
    details = await describe_batch(database, caller=plant.caller, batch_id=batch.batch_id)
    assert (details.batch.status, details.batch.keys_hashed, details.counts.total_items) == ("failed", 20, 50)
    await plant.submit(batch)
    await plant.work("reverse_job")
    assert (await plant.pack(batch)).linked_count == 25
    assert (await retry_batch(database, caller=plant.caller, batch_id=batch.batch_id)).status == "hashing"
    await plant.work("hashing")
    details = await describe_batch(database, caller=plant.caller, batch_id=batch.batch_id)
    assert (details.batch.status, details.batch.keys_hashed, batch_progress(details.batch)) == ("ready", 50, 100)
    await assert_exact(plant, batch.batch_id, 50, 25)


@pytest.mark.usefixtures("chunks_of_ten")
async def test_a_batch_is_ready_with_its_last_hash_and_not_before(plant: Plant, database: Database) -> None:
    batch = await plant.batch(35)
    states = []
    while await run_next(plant.runtime, BY_KIND["hashing"], StopSignal()) is not None:
        [row] = await plant.sql(
            "SELECT status, ready_at IS NOT NULL AS ready, keys_hashed,"
            " (SELECT count(root_key_hash) FROM qr_codes) AS hashed FROM qr_batches"
        )
        states.append(tuple(row))
    assert states == [
        ("hashing", False, 10, 10),
        ("hashing", False, 20, 20),
        ("hashing", False, 30, 30),
        ("ready", True, 35, 35),
    ]
    assert batch.first_code == "SKA000001"


async def test_the_hashes_are_bcrypt_over_the_peppered_key_of_each_unit(plant: Plant, runtime: Runtime) -> None:
    batch = await plant.batch(5)
    await plant.work("hashing")
    rows = await plant.sql("SELECT sequence_number, root_key_sealed, root_key_hash FROM qr_codes ORDER BY 1")
    assert len({row.root_key_hash for row in rows}) == 5
    for row in rows:
        key = runtime.keys.unseal(batch.batch_id, row.sequence_number, bytes(row.root_key_sealed))
        assert row.root_key_hash.startswith("$2b$04$")
        assert bcrypt.verify(runtime.keys.peppered(batch.batch_id, row.sequence_number, key), row.root_key_hash)
        assert not bcrypt.verify(key, row.root_key_hash)
        other = runtime.keys.peppered(batch.batch_id, row.sequence_number + 1, key)
        assert not bcrypt.verify(other, row.root_key_hash)


@pytest.mark.usefixtures("chunks_of_ten")
async def test_a_late_worker_stores_no_hash(plant: Plant, runtime: Runtime, database: Database) -> None:
    await plant.batch(10)
    [late] = await claim_work(database, HASHING, 1, lease_seconds=30)
    await plant.expire(STAGES)
    [held] = await claim_work(database, HASHING, 1, lease_seconds=30)
    before = await plant.sql("SELECT id, xmin::text FROM qr_codes ORDER BY id")

    async def hash_all(claim: Claim) -> None:
        await hash_keys(
            database, claim, keys=runtime.keys, hasher=runtime.hasher, threads=runtime.hash_threads, stop=StopSignal()
        )

    with pytest.raises(LeaseLost):
        await hash_all(late)
    assert await plant.sql("SELECT id, xmin::text FROM qr_codes WHERE root_key_hash IS NULL ORDER BY id") == before
    await hash_all(held)
    [batch] = await plant.sql("SELECT status, keys_hashed FROM qr_batches")
    assert tuple(batch) == ("ready", 10)


@pytest.mark.usefixtures("chunks_of_ten")
async def test_progress_is_logged_at_every_ten_percent_and_at_the_end_of_each_stage(plant: Plant) -> None:
    with capture_logs() as logs:
        await plant.batch(200)
        await plant.work("hashing")
    lines = [line["event"] for line in logs if line["event"].startswith("Progress:")]
    tens = [(done, f"{done / 2:.1f}") for done in range(20, 201, 20)]
    assert lines == [f"Progress: {done}/200 items created ({share}%)" for done, share in tens] + [
        f"Progress: {done}/200 keys hashed ({share}%)" for done, share in tens
    ]


async def test_variants_get_their_own_codes_and_cases(plant: Plant) -> None:
    batch = await plant.batch(units_per_case=25, variants=[("10g", 60), ("5g", 50), ("1g", 7)])
    runs = await plant.sql(
        "SELECT variant, min(sequence_number) AS first, max(sequence_number) AS last, count(*) AS codes"
        " FROM qr_codes GROUP BY variant ORDER BY first"
    )
    assert [tuple(run) for run in runs] == [("10g", 1, 60, 60), ("5g", 61, 110, 50), ("1g", 111, 117, 7)]
    cases = await plant.sql("SELECT case_number, variant, expected_units FROM qr_master_codes ORDER BY case_number")
    assert [tuple(case) for case in cases] == [
        (1, "10g", 25),
        (2, "10g", 25),
        (3, "10g", 10),
        (4, "5g", 25),
        (5, "5g", 25),
        (6, "1g", 7),
    ]
    assert batch.last_code == "SKA000117"


async def test_packing_and_hashing_the_same_codes_at_once_never_deadlock(plant: Plant) -> None:
    batch = await plant.prepared(1_200, units_per_case=40)
    counter = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    [before] = await plant.sql(counter)
    cases = iter(range(30))

    async def pack_some() -> None:
        for case in cases:
            await plant.pack(batch, case)

    await asyncio.gather(*(plant.work("hashing") for _ in range(3)), *(pack_some() for _ in range(3)))
    [after] = await plant.sql(counter)
    assert after.deadlocks == before.deadlocks
    [row] = await plant.sql(
        "SELECT status, keys_hashed, (SELECT count(*) FROM qr_codes WHERE status = 'packed') AS packed FROM qr_batches"
    )
    assert tuple(row) == ("ready", 1_200, 1_200)


async def test_other_organisations_may_use_the_same_prefix_at_the_same_moment(
    plant: Plant, runtime: Runtime, caller: Caller
) -> None:
    other = Plant(runtime, Caller(caller.user_id, UUID(int=7), caller.roles))
    created = await asyncio.gather(plant.order(10), other.order(10))
    await plant.work("creating")
    assert {one.first_code for one in created} == {"SKA000001"}
    for one in created:
        await assert_exact(plant, one.batch_id, 10)


async def test_hashing_that_is_interrupted_keeps_what_is_hashed(plant: Plant) -> None:
    batch = await plant.batch(10)
    stop = StopSignal()

    class StopsAfterThree(Hasher):
        def hash(self, peppered: str) -> str:
            made.append(peppered)
            if len(made) == 3:
                stop.set()
            return super().hash(peppered)

    made: list[str] = []
    runtime = replace(plant.runtime, hasher=StopsAfterThree(4))
    outcome = await run_next(runtime, BY_KIND["hashing"], stop)
    assert outcome is not None
    assert outcome.end == End.RELEASED
    (row,) = await plant.sql("SELECT keys_hashed, status FROM qr_batches WHERE id = :id", id=batch.batch_id)
    assert row == (3, "hashing")
    await plant.work("hashing")
    (row,) = await plant.sql("SELECT keys_hashed, status FROM qr_batches WHERE id = :id", id=batch.batch_id)
    assert row == (10, "ready")
