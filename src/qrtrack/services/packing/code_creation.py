"""The two stages of a batch, chunk by chunk: its codes are created, then their root keys are hashed."""

import asyncio
from concurrent.futures import Executor
from typing import Any
from uuid import UUID

import structlog

from qrtrack.database import Database
from qrtrack.domain.claims import Claim, Interrupted, LeaseLost, PermanentFailure
from qrtrack.domain.packing.batches import SerialMode
from qrtrack.domain.packing.numbering import random_tails
from qrtrack.domain.root_keys import Hasher, KeyRing, sample_keys
from qrtrack.domain.stopping import StopSignal
from qrtrack.repositories import Repositories
from qrtrack.repositories.leased import Queue
from qrtrack.repositories.queues import CREATING, HASHING
from qrtrack.services.packing.batches import HASHING_CHUNK

log = structlog.get_logger()

# A fresh draw meets a taken key by chance: once in hundreds of thousands. What is still taken then is no chance.
DRAWS = 5

Drawn = tuple[list[bytes], list[bytes], list[str] | None]


async def create_codes(database: Database, claim: Claim, *, keys: KeyRing) -> None:
    """Creates the chunk's codes, exactly: what a taken key left out is drawn again. The batch's last chunk makes its
    cases and opens the second stage. Killed anywhere, it goes on with what is missing.
    """
    async with database.read() as repositories:
        stage = await repositories.stages.get(claim.number)
    for _ in range(DRAWS):
        async with database.read() as repositories:
            lacking = await repositories.stages.missing(stage.batch_id, stage.first_sequence, stage.last_sequence)
        drawn = await asyncio.to_thread(_draw, stage, lacking, keys)
        if await _create_drawn(database, claim, stage, lacking, drawn):
            return
    raise PermanentFailure(
        f"Some codes from {stage.serial_prefix} number {stage.first_number or 1} on exist already, made elsewhere."
    )


async def _create_drawn(database: Database, claim: Claim, stage: Any, lacking: list[int], drawn: Drawn) -> bool:
    """True when nothing of the chunk is lacking any more: it is finished then, in the same transaction."""
    async with database.write() as repositories:
        created = await repositories.stages.insert_codes(stage, lacking, *drawn)
        counted = await repositories.batches.count_created(stage.batch_id, created)
        if counted is None:
            raise LeaseLost(claim)
        if created == len(lacking):
            await _complete_creating(repositories, claim, stage, counted)
        else:
            await repositories.leased(CREATING).hold(claim)
    log_progress("items created", counted.items_created, counted.quantity, created)
    return created == len(lacking)


def _draw(stage: Any, sequences: list[int], keys: KeyRing) -> Drawn:
    """Digests, sealed keys and random tails (or None) for the sequence numbers. Runs in a thread."""
    drawn = sample_keys(len(sequences), stage.key_length)
    digests, sealed = keys.prepare(stage.batch_id, sequences, drawn)
    tails = None
    if stage.serial_mode == SerialMode.RANDOM:
        tails = random_tails(len(sequences), stage.random_tail_length)
    return digests, sealed, tails


async def _complete_creating(repositories: Repositories, claim: Claim, stage: Any, counted: Any) -> None:
    if counted.complete:
        await open_hashing(repositories, stage.batch_id, stage.manufacturer_org_id, counted.quantity)
    await repositories.leased(CREATING).finish(claim)


async def open_hashing(repositories: Repositories, batch_id: UUID, organisation_id: UUID, quantity: int) -> None:
    """All codes of the batch exist: its cases are made, and its second stage begins."""
    await repositories.batches.add_cases(batch_id)
    await repositories.stages.add(batch_id, organisation_id, HASHING.kind, quantity=quantity, chunk=HASHING_CHUNK)
    await repositories.wake_workers(HASHING)


async def hash_keys(
    database: Database, claim: Claim, *, keys: KeyRing, hasher: Hasher, threads: Executor, stop: StopSignal
) -> None:
    """Hashes the chunk's root keys in a thread; the batch's last chunk makes it ready.

    Asked to stop, it keeps what is hashed, so that also short budgets come to an end. Cancelled, it leaves no thread
    behind: the next chunk needs it.
    """
    async with database.read() as repositories:
        stage = await repositories.stages.get(claim.number)
        sealed = await repositories.stages.keys_to_hash(stage.batch_id, stage.first_sequence, stage.last_sequence)

    cancelled = StopSignal()

    def hash_all() -> list[str]:
        hashes = []
        for number, blob in sealed:
            if stop.is_set() or cancelled.is_set():
                break
            peppered = keys.peppered(stage.batch_id, number, keys.unseal(stage.batch_id, number, blob))
            hashes.append(hasher.hash(peppered))
        return hashes

    try:
        hashes = await asyncio.get_running_loop().run_in_executor(threads, hash_all)
    finally:
        cancelled.set()
    # Under the batch lock: packing writes the same codes, and in another order each could wait for the other.
    async with database.write(batch_lock=stage.batch_id) as repositories:
        numbers = [number for number, _ in sealed[: len(hashes)]]
        stored = await repositories.stages.store_hashes(stage.batch_id, numbers, hashes)
        counted = await repositories.batches.count_hashed(stage.batch_id, stored)
        if len(hashes) == len(sealed):
            await repositories.leased(HASHING).finish(claim)
        else:
            await repositories.leased(HASHING).hold(claim)
    log_progress("keys hashed", counted.keys_hashed, counted.keys_to_hash, stored)
    if len(hashes) < len(sealed):
        raise Interrupted


async def fail_stage(database: Database, claim: Claim, queue: Queue, error: str, *, permanent: bool) -> float | None:
    """Another try in so many seconds, or None: the batch fails with the reason, in creating without its codes, in
    hashing still packable.
    """
    async with database.write() as repositories:
        stage = await repositories.stages.get(claim.number)
        # Before the chunk's own row, as those do it that finish: chunks of a batch often fail together.
        await repositories.batches.lock(stage.batch_id)
        retry_in = await repositories.leased(queue).fail(claim, error, permanent=permanent)
        if retry_in is None:
            if await repositories.batches.fail(stage.batch_id, error):
                await repositories.stages.drop_unfinished(stage.batch_id, error)
            await repositories.trace.add(
                "batch.failed",
                organisation_id=stage.manufacturer_org_id,
                actor="qrtrack",
                batch_id=stage.batch_id,
                reason=error,
            )
    return retry_in


def log_progress(what: str, done: int, total: int, step: int) -> None:
    """One line for every whole 10 % that this step passed, and one at the end of the stage."""
    if step and (done == total or 10 * done // total > 10 * (done - step) // total):
        line = f"Progress: {done}/{total} {what} ({100 * done / total:.1f}%)"
        log.info(line)
