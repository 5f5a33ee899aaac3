"""The kinds of queued work, and the service that does each."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias
from zoneinfo import ZoneInfo

from qrtrack.database import DatabaseUnavailable
from qrtrack.domain.claims import Claim, Group, Interrupted
from qrtrack.domain.stopping import StopSignal
from qrtrack.repositories.leased import Queue
from qrtrack.repositories.queues import (
    CREATING,
    HASHING,
    NOTIFICATIONS,
    PERIODIC_TASKS,
    REVERSE_JOBS,
    WEBHOOK_EVENTS,
    WEBHOOK_RETRIES,
    WEBHOOK_STREAMS,
)
from qrtrack.runtime import Runtime
from qrtrack.services.accurate.forwarding import fail_stream, forward_stream
from qrtrack.services.accurate.processing import fail_event, process_event, process_group
from qrtrack.services.notifications import fail_notification, send_notification
from qrtrack.services.packing.code_creation import create_codes, fail_stage, hash_keys
from qrtrack.services.packing.preparation import fail_reverse_job, run_reverse_job
from qrtrack.worker.schedule import fail_task, run_task

# Enough that the round trips of a transaction no longer count, and few enough that requests, which share the event loop
# with every step of a group, do not wait for long.
EVENTS_IN_GROUP = 300


class Fail(Protocol):
    """Records a failure: seconds until the next try, None when there is none."""

    async def __call__(self, runtime: Runtime, claim: Claim, error: str, *, permanent: bool) -> float | None: ...


@dataclass(frozen=True, slots=True)
class Handler:
    """One kind of work, done piece by piece. `run` finishes a piece in its own last transaction."""

    queue: Queue
    run: Callable[[Runtime, Claim, StopSignal], Awaitable[None]]
    fail: Fail


@dataclass(frozen=True, slots=True)
class GroupHandler:
    """One kind of small work, done in groups of up to `size` pieces. `run` returns how many it has ended. Those of a
    group that fails are of another kind, which is done piece by piece.
    """

    queue: Queue
    size: int
    run: Callable[[Runtime, Group], Awaitable[int]]


AnyHandler: TypeAlias = Handler | GroupHandler


async def _create(runtime: Runtime, claim: Claim, _stop: StopSignal) -> None:
    await create_codes(runtime.database, claim, keys=runtime.keys)


async def _hash(runtime: Runtime, claim: Claim, stop: StopSignal) -> None:
    await hash_keys(
        runtime.database, claim, keys=runtime.keys, hasher=runtime.hasher, threads=runtime.hash_threads, stop=stop
    )


async def _prepare(runtime: Runtime, claim: Claim, stop: StopSignal) -> None:
    await run_reverse_job(runtime.database, claim, stop)


async def _fail_creating(runtime: Runtime, claim: Claim, error: str, *, permanent: bool) -> float | None:
    return await fail_stage(runtime.database, claim, CREATING, error, permanent=permanent)


async def _fail_hashing(runtime: Runtime, claim: Claim, error: str, *, permanent: bool) -> float | None:
    return await fail_stage(runtime.database, claim, HASHING, error, permanent=permanent)


async def _fail_preparing(runtime: Runtime, claim: Claim, error: str, *, permanent: bool) -> float | None:
    return await fail_reverse_job(runtime.database, claim, error, permanent=permanent)


async def _process(runtime: Runtime, claim: Claim, _stop: StopSignal) -> None:
    zone, pass_on = ZoneInfo(runtime.settings.accurate_timezone), runtime.forwarder is not None
    await process_event(runtime.database, claim, zone=zone, pass_on=pass_on)


async def _process_group(runtime: Runtime, group: Group) -> int:
    zone, pass_on = ZoneInfo(runtime.settings.accurate_timezone), runtime.forwarder is not None
    return await process_group(runtime.database, group, zone=zone, pass_on=pass_on)


async def _fail_processing(runtime: Runtime, claim: Claim, error: str, *, permanent: bool) -> float | None:
    return await fail_event(runtime.database, claim, error, permanent=permanent)


async def _forward(runtime: Runtime, claim: Claim, stop: StopSignal) -> None:
    zone = ZoneInfo(runtime.settings.accurate_timezone)
    try:
        await forward_stream(runtime.database, claim, forwarder=runtime.forwarder, zone=zone, stop=stop)
    except DatabaseUnavailable as error:
        # No fault of the stream, which would rest for it: it goes on as soon as the database answers.
        raise Interrupted from error


async def _fail_forwarding(runtime: Runtime, claim: Claim, error: str, *, permanent: bool) -> float | None:  # noqa: ARG001 - a stream never ends
    return await fail_stream(runtime.database, claim, error)


async def _notify(runtime: Runtime, claim: Claim, _stop: StopSignal) -> None:
    await send_notification(runtime.database, claim, messenger=runtime.messenger)


async def _fail_notifying(runtime: Runtime, claim: Claim, error: str, *, permanent: bool) -> float | None:
    return await fail_notification(runtime.database, claim, error, permanent=permanent)


REVERSE_JOB = Handler(REVERSE_JOBS, _prepare, _fail_preparing)
HANDLERS: tuple[AnyHandler, ...] = (
    REVERSE_JOB,
    Handler(CREATING, _create, _fail_creating),
    Handler(HASHING, _hash, _fail_hashing),
    GroupHandler(WEBHOOK_EVENTS, EVENTS_IN_GROUP, _process_group),
    Handler(WEBHOOK_RETRIES, _process, _fail_processing),
    Handler(WEBHOOK_STREAMS, _forward, _fail_forwarding),
    Handler(NOTIFICATIONS, _notify, _fail_notifying),
    Handler(PERIODIC_TASKS, run_task, fail_task),
)
