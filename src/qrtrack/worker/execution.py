"""Executes claimed work and records its end. The lease of a single piece is renewed while it runs, that of a group is
not.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import structlog

from qrtrack.database import Database, DatabaseUnavailable
from qrtrack.domain.claims import Claim, Group, Held, Interrupted, LeaseLost, PermanentFailure, PieceT
from qrtrack.domain.errors import Conflict, DomainError, Unavailable
from qrtrack.domain.stopping import StopSignal
from qrtrack.metrics import count_end, count_lost_write
from qrtrack.repositories.groups import GroupQueue
from qrtrack.repositories.leased import Queue
from qrtrack.runtime import Runtime
from qrtrack.services.claims import (
    break_up_group,
    claim_group,
    claim_work,
    release_claim,
    release_group,
)
from qrtrack.settings import Settings
from qrtrack.worker.heartbeat import renew_lease

WORKER_LOST = "worker lost: the process of the last attempt died or lost the database"
RETRY_SECONDS = 0.5
# The messages of these errors are written for people: they may be shown, and need no traceback in the log.
EXPECTED = DomainError, PermanentFailure

log = structlog.get_logger()


class End(StrEnum):
    COMPLETED = "completed"
    RELEASED = "queued"
    RETRIED = "retried"
    FAILED = "failed"
    LOST = "lost"


OVER = frozenset({End.COMPLETED, End.FAILED})


@dataclass(frozen=True, slots=True)
class WorkOutcome:
    """The end of claimed work. `error`: the recorded reason of a failure. `retry_in`: seconds until the next attempt.
    `pieces`: how many pieces ended in this way.
    """

    held: Held
    end: End
    error: str | None = None
    retry_in: float | None = None
    pieces: int = 1

    @property
    def claim(self) -> Claim:
        """The claim, for work that is claimed one by one."""
        assert isinstance(self.held, Claim)
        return self.held


HeldT = TypeVar("HeldT", bound=Held)


class Handler(Protocol[HeldT]):
    """Executes one kind of work. `slots`: how many pieces or groups of it run in a process at the same time."""

    @property
    def queue(self) -> Queue: ...

    @property
    def slots(self) -> Callable[[Settings], int]: ...

    async def claim(self, runtime: Runtime, slots: int) -> Sequence[HeldT]:
        """Claims due work for at most `slots` slots. Returns an empty list when nothing is due."""

    async def execute(self, runtime: Runtime, held: HeldT, stop: StopSignal) -> WorkOutcome:
        """Runs the work and records its end. If it is cancelled, it releases the work first."""


AnyHandler: TypeAlias = Handler[Any]


class Fail(Protocol):
    """A function that records a failed attempt. It returns the seconds until the next one, or None after the last."""

    async def __call__(self, database: Database, claim: Claim, error: str, *, permanent: bool) -> float | None: ...


@dataclass(frozen=True, slots=True)
class SingleHandler:
    """A kind of work that is claimed one by one. `run` finishes the work in its own last transaction. `claim_values`:
    the parameters of the queue's `claimed_if`.
    """

    queue: Queue
    slots: Callable[[Settings], int]
    run: Callable[[Runtime, Claim, StopSignal], Awaitable[None]]
    fail: Fail
    claim_values: Callable[[Settings], Mapping[str, Any]] = lambda _: {}

    async def claim(self, runtime: Runtime, slots: int) -> Sequence[Claim]:
        settings = runtime.settings
        return await claim_work(
            runtime.database,
            self.queue,
            slots,
            lease_seconds=settings.lease_seconds,
            **self.claim_values(settings),
        )

    async def execute(self, runtime: Runtime, held: Claim, stop: StopSignal) -> WorkOutcome:
        if held.exhausted:
            return await self._fail(runtime, held, WORKER_LOST, permanent=True)
        body = asyncio.ensure_future(self.run(runtime, held, stop))
        heartbeat = asyncio.create_task(renew_lease(runtime, self.queue, held, body))
        try:
            return await self._wait_for(runtime, held, body)
        finally:
            heartbeat.cancel()
            body.cancel()
            await asyncio.gather(heartbeat, body, return_exceptions=True)

    async def _wait_for(self, runtime: Runtime, claim: Claim, body: asyncio.Future[None]) -> WorkOutcome:
        try:
            await asyncio.wait({body})
        except asyncio.CancelledError:
            body.cancel()
            await asyncio.gather(body, return_exceptions=True)
            await asyncio.shield(self._release(runtime, claim))
            raise
        if body.cancelled():
            return _lost(claim)
        error = body.exception()
        if error is None:
            return WorkOutcome(claim, End.COMPLETED)
        if isinstance(error, LeaseLost):
            return _refused(claim)
        if isinstance(error, Interrupted):
            return await self._release(runtime, claim)
        log.warning("work failed", attempt=claim.attempts, reason=_reason(error), exc_info=_traced(error))
        return await self._fail(runtime, claim, _reason(error), permanent=_is_permanent(error))

    async def _release(self, runtime: Runtime, claim: Claim) -> WorkOutcome:
        release = partial(release_claim, runtime.database, self.queue, claim)
        return await _persist(runtime, claim, release, lambda _: WorkOutcome(claim, End.RELEASED))

    async def _fail(self, runtime: Runtime, claim: Claim, error: str, *, permanent: bool) -> WorkOutcome:
        def outcome(retry_in: float | None) -> WorkOutcome:
            return WorkOutcome(claim, End.FAILED if retry_in is None else End.RETRIED, error, retry_in)

        return await _persist(
            runtime, claim, lambda: self.fail(runtime.database, claim, error, permanent=permanent), outcome
        )


@dataclass(frozen=True, slots=True)
class GroupHandler(Generic[PieceT]):
    """A kind of small work: one claim takes a group of up to `size` pieces. `run` returns how many pieces it has
    finished. If a group fails, the SingleHandler of another kind claims and retries its pieces one by one.
    """

    queue: GroupQueue[PieceT]
    slots: Callable[[Settings], int]
    run: Callable[[Runtime, Group[PieceT]], Awaitable[int]]
    size: int

    async def claim(self, runtime: Runtime, slots: int) -> Sequence[Group[PieceT]]:  # noqa: ARG002 - one group a claim
        lease_seconds = runtime.settings.lease_seconds
        group = await claim_group(runtime.database, self.queue, self.size, lease_seconds=lease_seconds)
        return [] if group is None else [group]

    async def execute(self, runtime: Runtime, held: Group[PieceT], stop: StopSignal) -> WorkOutcome:
        if stop.is_set():
            return await self._release(runtime, held)
        try:
            finished = await self.run(runtime, held)
        except asyncio.CancelledError:
            await asyncio.shield(self._release(runtime, held))
            raise
        except LeaseLost:
            return _refused(held)
        except Exception as error:
            # The group is broken up even if the database was away: one of its pieces may have crashed the database.
            log.warning(
                "a group failed: its pieces are retried one by one", reason=_reason(error), exc_info=_traced(error)
            )
            return await self._end(runtime, held, End.RETRIED, break_up_group)
        return WorkOutcome(held, End.COMPLETED, pieces=finished)

    async def _release(self, runtime: Runtime, group: Group[PieceT]) -> WorkOutcome:
        return await self._end(runtime, group, End.RELEASED, release_group)

    async def _end(
        self, runtime: Runtime, group: Group[PieceT], end: End, write: Callable[..., Awaitable[None]]
    ) -> WorkOutcome:
        outcome = WorkOutcome(group, end, pieces=group.size)
        return await _persist(runtime, group, partial(write, runtime.database, self.queue, group), lambda _: outcome)


async def run_next(runtime: Runtime, handler: AnyHandler, stop: StopSignal) -> WorkOutcome | None:
    """Claims the next piece or group and executes it. Returns None if nothing is due or `stop` is set."""
    if stop.is_set():
        return None
    for held in await handler.claim(runtime, 1):
        return await execute(runtime, handler, held, stop)
    return None


async def run_until_idle(runtime: Runtime, handler: AnyHandler, held: Held, stop: StopSignal) -> WorkOutcome:
    """Executes the claimed work, then claims and executes more, one after the other. Returns the last outcome: when
    nothing is due, when a claim fails, when work has failed, was released or was lost, or when `stop` is set.
    """
    while True:
        outcome = await execute(runtime, handler, held, stop)
        if outcome.end is not End.COMPLETED or stop.is_set():
            return outcome
        try:
            claimed = await handler.claim(runtime, 1)
        except DatabaseUnavailable:
            # The worker loop claims next, and logs the outage.
            return outcome
        except Exception:
            log.exception("claiming failed", kind=handler.queue.kind)
            return outcome
        if not claimed:
            return outcome
        (held,) = claimed


async def execute(runtime: Runtime, handler: AnyHandler, held: Held, stop: StopSignal) -> WorkOutcome:
    """Executes claimed work. Counts its end and measures its time. If it is cancelled, it releases the work first."""
    with structlog.contextvars.bound_contextvars(kind=held.kind, job_id=str(held.id)):
        began = time.monotonic()
        outcome = await handler.execute(runtime, held, stop)
        count_end(held.kind, outcome.end, time.monotonic() - began, pieces=outcome.pieces)
        if outcome.end in OVER:
            runtime.activity.end(held.kind)
        return outcome


def _is_permanent(error: BaseException) -> bool:
    if isinstance(error, DomainError):
        return not isinstance(error, Unavailable | Conflict)
    return isinstance(error, PermanentFailure)


def _reason(error: BaseException) -> str:
    """Returns the reason that the plant reads. For a defect it contains only the error's type, since the message may
    hold secrets.
    """
    if isinstance(error, EXPECTED):
        return str(error)
    return f"internal error ({type(error).__name__}); the service's log has the details"


def _traced(error: BaseException) -> BaseException | None:
    return None if isinstance(error, EXPECTED) else error


def _refused(held: Held) -> WorkOutcome:
    count_lost_write(held.kind)
    return _lost(held)


def _lost(held: Held) -> WorkOutcome:
    log.info(
        "the lease is lost: the work was cancelled or claimed by another worker, or the database was away for too long"
    )
    return WorkOutcome(held, End.LOST, pieces=held.size)


async def _persist(
    runtime: Runtime,
    held: Held,
    write: Callable[[], Awaitable[float | None]],
    outcome: Callable[[float | None], WorkOutcome],
) -> WorkOutcome:
    """Records an end, and retries while the database is away. Gives up after the time of a lease: another worker may
    have claimed the work by then.
    """
    give_up = time.monotonic() + runtime.settings.lease_seconds
    while True:
        try:
            return outcome(await write())
        except LeaseLost:
            return _refused(held)
        except DatabaseUnavailable:
            if time.monotonic() > give_up:
                return _lost(held)
            await asyncio.sleep(RETRY_SECONDS)
