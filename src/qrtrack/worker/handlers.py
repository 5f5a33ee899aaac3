"""The kinds of queued work, and the service that does each."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from qrtrack.domain.claims import Claim
from qrtrack.domain.stopping import StopSignal
from qrtrack.repositories.leased import Queue
from qrtrack.repositories.queues import CREATING, HASHING, REVERSE_JOBS
from qrtrack.runtime import Runtime
from qrtrack.services.preparing import fail_reverse_job, run_reverse_job
from qrtrack.services.stages import create_codes, fail_stage, hash_keys


class Fail(Protocol):
    """Records a failure; True when it is for good."""

    async def __call__(self, runtime: Runtime, claim: Claim, error: str, *, permanent: bool) -> bool: ...


@dataclass(frozen=True, slots=True)
class Handler:
    """One kind of work. `run` finishes it in its own last transaction."""

    queue: Queue
    run: Callable[[Runtime, Claim, StopSignal], Awaitable[None]]
    fail: Fail


async def _create(runtime: Runtime, claim: Claim, _stop: StopSignal) -> None:
    await create_codes(runtime.database, claim, keys=runtime.keys)


async def _hash(runtime: Runtime, claim: Claim, stop: StopSignal) -> None:
    await hash_keys(
        runtime.database, claim, keys=runtime.keys, hasher=runtime.hasher, threads=runtime.hash_threads, stop=stop
    )


async def _prepare(runtime: Runtime, claim: Claim, stop: StopSignal) -> None:
    await run_reverse_job(runtime.database, claim, stop)


async def _fail_creating(runtime: Runtime, claim: Claim, error: str, *, permanent: bool) -> bool:
    return await fail_stage(runtime.database, claim, CREATING, error, permanent=permanent)


async def _fail_hashing(runtime: Runtime, claim: Claim, error: str, *, permanent: bool) -> bool:
    return await fail_stage(runtime.database, claim, HASHING, error, permanent=permanent)


async def _fail_preparing(runtime: Runtime, claim: Claim, error: str, *, permanent: bool) -> bool:
    return await fail_reverse_job(runtime.database, claim, error, permanent=permanent)


REVERSE_JOB = Handler(REVERSE_JOBS, _prepare, _fail_preparing)
HANDLERS = (
    REVERSE_JOB,
    Handler(CREATING, _create, _fail_creating),
    Handler(HASHING, _hash, _fail_hashing),
)
