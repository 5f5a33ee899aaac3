"""The two stages of a batch, chunk by chunk: its codes are created, then their root keys are hashed."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from uuid import UUID

import structlog

from qrtrack.database import Database
from qrtrack.domain.claims import Claim, Interrupted, LeaseLost, PermanentFailure
from qrtrack.domain.identity import Caller
from qrtrack.domain.packing.batches import SerialMode
from qrtrack.domain.packing.numbering import random_tails
from qrtrack.domain.root_keys import Hasher, KeyRing, sample_keys
from qrtrack.domain.stopping import StopSignal
from qrtrack.repositories import Repositories
from qrtrack.repositories.leased import Queue
from qrtrack.repositories.packing.code_creation import Chunk, NewCodes, SealedKey
from qrtrack.repositories.queues import CREATING, HASHING
from qrtrack.services.packing.batches import HASHING_CHUNK
from qrtrack.services.stoppable_threads import run_in_thread

log = structlog.get_logger()

# A drawn key exists already once in hundreds of thousands of draws. If codes are taken five times, something else
# created them.
DRAWS = 5


async def create_codes(database: Database, claim: Claim, *, keys: KeyRing) -> None:
    """Creates the chunk's codes. Codes whose key or code exists already are drawn again.

    The batch's last chunk adds the cases and queues the hashing. If a worker is killed at any line, the next attempt
    creates the missing codes. Raises LeaseLost, PermanentFailure.
    """
    async with database.read() as repositories:
        chunk = await repositories.code_creation.get_chunk(claim.number)
    for _ in range(DRAWS):
        async with database.read() as repositories:
            missing = await repositories.code_creation.missing(chunk)
        drawn = await asyncio.to_thread(_draw, chunk, missing, keys)
        if await _insert_drawn(database, claim, chunk, drawn):
            return
    raise PermanentFailure(
        f"Some codes from {chunk.serial_prefix} number {chunk.first_number or 1} on exist already: they were not "
        "created by this batch."
    )


def _draw(chunk: Chunk, sequences: Sequence[int], keys: KeyRing) -> NewCodes:
    """Runs in a thread."""
    drawn = sample_keys(len(sequences), chunk.key_length)
    digests, sealed = keys.prepare(chunk.batch_id, sequences, drawn)
    tails = None
    if chunk.serial_mode == SerialMode.RANDOM:
        assert chunk.random_tail_length is not None
        tails = random_tails(len(sequences), chunk.random_tail_length)
    return NewCodes(sequences, digests, sealed, tails)


async def _insert_drawn(database: Database, claim: Claim, chunk: Chunk, drawn: NewCodes) -> bool:
    """Inserts the drawn codes. Returns True if the chunk is complete; then the same transaction finishes it."""
    async with database.write() as repositories:
        created = await repositories.code_creation.insert_codes(chunk, drawn)
        counted = await repositories.batches.count_created(chunk.batch_id, created)
        if counted is None:
            raise LeaseLost(claim)
        is_complete = created == len(drawn.sequences)
        if is_complete:
            if counted.complete:
                await start_hashing(repositories, chunk.batch_id, chunk.manufacturer_org_id, counted.quantity)
            await repositories.leased(CREATING).finish(claim)
        else:
            await repositories.leased(CREATING).hold(claim)
    log_progress("items created", counted.items_created, counted.quantity, created)
    return is_complete


async def start_hashing(repositories: Repositories, batch_id: UUID, organisation_id: UUID, quantity: int) -> None:
    """Adds the cases of a batch whose codes all exist, and queues its second stage."""
    await repositories.batches.add_cases(batch_id)
    await queue_hashing(repositories, batch_id, organisation_id, quantity)


async def queue_hashing(repositories: Repositories, batch_id: UUID, organisation_id: UUID, quantity: int) -> None:
    await repositories.code_creation.queue_chunks(
        batch_id, organisation_id, HASHING.kind, quantity=quantity, chunk_size=HASHING_CHUNK
    )
    await repositories.wake_workers(HASHING)


async def hash_keys(
    database: Database, claim: Claim, *, keys: KeyRing, hasher: Hasher, threads: Executor, stop: StopSignal
) -> None:
    """Hashes the chunk's root keys in a thread. The batch's last chunk makes the batch ready.

    When asked to stop, it stores the hashes made so far and raises Interrupted. When cancelled, it ends its thread,
    which the next chunk needs.
    """
    async with database.read() as repositories:
        chunk = await repositories.code_creation.get_chunk(claim.number)
        sealed = await repositories.code_creation.keys_to_hash(chunk)
    hashes = await run_in_thread(threads, partial(_hash, chunk, sealed, keys, hasher), stop)
    is_complete = len(hashes) == len(sealed)
    # Packing writes the same codes in another order: without the batch lock, the two would deadlock.
    async with database.write(batch_lock=chunk.batch_id) as repositories:
        numbers = [key.sequence_number for key in sealed[: len(hashes)]]
        stored = await repositories.code_creation.store_hashes(chunk.batch_id, numbers, hashes)
        counted = await repositories.batches.count_hashed(chunk.batch_id, stored)
        if is_complete:
            await repositories.leased(HASHING).finish(claim)
        else:
            await repositories.leased(HASHING).hold(claim)
    log_progress("keys hashed", counted.keys_hashed, counted.keys_to_hash, stored)
    if not is_complete:
        raise Interrupted


def _hash(
    chunk: Chunk, sealed: Sequence[SealedKey], keys: KeyRing, hasher: Hasher, is_stopped: Callable[[], bool]
) -> list[str]:
    """Runs in a thread. Returns the hashes in the order of the keys. If the worker is asked to stop, the list ends
    early.
    """
    hashes: list[str] = []
    for number, blob in sealed:
        if is_stopped():
            break
        peppered = keys.peppered(chunk.batch_id, number, keys.unseal(chunk.batch_id, number, blob))
        hashes.append(hasher.hash(peppered))
    return hashes


async def fail_stage(database: Database, claim: Claim, error: str, *, permanent: bool, queue: Queue) -> float | None:
    """Records the failure. Returns the seconds until the next attempt, or None if the batch fails: in creating it loses
    its codes, in hashing it stays packable.
    """
    async with database.write() as repositories:
        chunk = await repositories.code_creation.get_chunk(claim.number)
        # Locks the batch, then the chunk, as a chunk that finishes does. Chunks of a batch often fail at the same time,
        # and another order would deadlock.
        await repositories.batches.lock(chunk.batch_id)
        retry_in = await repositories.leased(queue).fail(claim, error, permanent=permanent)
        if retry_in is None:
            if await repositories.batches.fail(chunk.batch_id, error):
                await repositories.code_creation.fail_live_chunks(chunk.batch_id, error)
            await repositories.trace.add(
                "batch.failed",
                caller=Caller.service(chunk.manufacturer_org_id),
                batch_id=chunk.batch_id,
                reason=error,
            )
    return retry_in


def log_progress(what: str, done: int, total: int, step: int) -> None:
    """Logs a line if this step reached or passed a multiple of 10 %, or ended the stage."""
    if step and (done == total or 10 * done // total > 10 * (done - step) // total):
        line = f"Progress: {done}/{total} {what} ({100 * done / total:.1f}%)"
        log.info(line)
