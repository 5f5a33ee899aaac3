"""Running one claimed piece of work: heartbeat beside it, and the right end whatever happens."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

import structlog

from qrtrack.database import DatabaseUnavailable
from qrtrack.domain.claims import Claim, Group, Interrupted, LeaseLost, PermanentFailure
from qrtrack.domain.errors import Conflict, DomainError, Unavailable
from qrtrack.domain.stopping import StopSignal
from qrtrack.metrics import count_end
from qrtrack.runtime import Runtime
from qrtrack.services.claims import (
    break_up_group,
    claim_group,
    claim_work,
    keep_claim,
    release_claim,
    release_group,
)
from qrtrack.worker.handlers import AnyHandler, GroupHandler, Handler

WORKER_LOST = "worker lost: every attempt ended with the process that made it"
# A worker stops this part of a lease before it may run out, when it cannot reach the database.
MARGIN = 0.1
RETRY_SECONDS = 0.5
FORESEEN = DomainError, PermanentFailure

log = structlog.get_logger()


class End(StrEnum):
    COMPLETED = "completed"
    RELEASED = "queued"
    RETRIED = "retried"
    FAILED = "failed"
    LOST = "lost"


OVER = frozenset({End.COMPLETED, End.FAILED})


@dataclass(frozen=True, slots=True)
class Outcome:
    """How work ended; where it failed, the reason that was recorded and the seconds until it is tried again. Of a group
    `pieces` ended so.
    """

    held: Claim | Group
    end: End
    error: str | None = None
    retry_in: float | None = None
    pieces: int = 1

    @property
    def claim(self) -> Claim:
        """Of work that is done piece by piece."""
        assert isinstance(self.held, Claim)
        return self.held


async def run_next(runtime: Runtime, handler: AnyHandler, stop: StopSignal) -> Outcome | None:
    """Claims the next piece or group of the kind and does it; None when nothing is due."""
    if stop.is_set():
        return None
    held = await claim_next(runtime, handler)
    return None if held is None else await execute(runtime, handler, held, stop)


async def claim_next(runtime: Runtime, handler: AnyHandler) -> Claim | Group | None:
    lease_seconds = runtime.settings.lease_seconds
    if isinstance(handler, GroupHandler):
        return await claim_group(runtime.database, handler.queue, handler.size, lease_seconds=lease_seconds)
    claims = await claim_work(runtime.database, handler.queue, 1, lease_seconds=lease_seconds)
    return claims[0] if claims else None


async def work_off(runtime: Runtime, handler: AnyHandler, held: Claim | Group, stop: StopSignal) -> Outcome:
    """One after the other, until nothing is due or one ends otherwise than well; how the last one ended."""
    while True:
        outcome = await execute(runtime, handler, held, stop)
        if outcome.end is not End.COMPLETED or stop.is_set():
            return outcome
        try:
            following = await claim_next(runtime, handler)
        except DatabaseUnavailable:
            # The worker's loop will find that out, and say so.
            return outcome
        except Exception:
            log.exception("claiming failed", kind=handler.queue.kind)
            return outcome
        if following is None:
            return outcome
        held = following


async def execute(runtime: Runtime, handler: AnyHandler, held: Claim | Group, stop: StopSignal) -> Outcome:
    """Does the claimed work to one of its ends. Cancelled from outside, it gives the work back and passes that on."""
    with structlog.contextvars.bound_contextvars(kind=held.kind, job_id=str(held.id)):
        began = time.monotonic()
        if isinstance(handler, GroupHandler):
            assert isinstance(held, Group)
            outcome = await _do_group(runtime, handler, held, stop)
        else:
            assert isinstance(held, Claim)
            outcome = await _do(runtime, handler, held, stop)
        count_end(held.kind, outcome.end, time.monotonic() - began, pieces=outcome.pieces)
        if outcome.end in OVER:
            runtime.pulse.end(held.kind)
        return outcome


async def _do(runtime: Runtime, handler: Handler, claim: Claim, stop: StopSignal) -> Outcome:
    if claim.exhausted:
        return await _fail(runtime, handler, claim, WORKER_LOST, permanent=True)
    body = asyncio.ensure_future(handler.run(runtime, claim, stop))
    heart = asyncio.create_task(_beat(runtime, handler, claim, body))
    try:
        return await _end_of(runtime, handler, claim, body)
    finally:
        heart.cancel()
        body.cancel()
        await asyncio.gather(heart, body, return_exceptions=True)


async def _do_group(runtime: Runtime, handler: GroupHandler, group: Group, stop: StopSignal) -> Outcome:
    if stop.is_set():
        return await _release_group(runtime, handler, group)
    try:
        ended = await handler.run(runtime, group)
    except asyncio.CancelledError:
        await asyncio.shield(_release_group(runtime, handler, group))
        raise
    except LeaseLost:
        return _lost(group)
    except Exception as error:
        # After an outage of the database as well: a piece that brings it down would be taken up for ever.
        trace = None if isinstance(error, FORESEEN) else error
        log.warning("a group failed: its pieces are done one by one", reason=_reason(error), exc_info=trace)
        break_up = partial(break_up_group, runtime.database, handler.queue, group)
        return await _end_group(runtime, group, End.RETRIED, break_up)
    return Outcome(group, End.COMPLETED, pieces=ended)


async def _release_group(runtime: Runtime, handler: GroupHandler, group: Group) -> Outcome:
    return await _end_group(
        runtime, group, End.RELEASED, partial(release_group, runtime.database, handler.queue, group)
    )


async def _end_group(runtime: Runtime, group: Group, end: End, write: Callable[[], Awaitable[None]]) -> Outcome:
    return await _settle(runtime, group, write, lambda _: Outcome(group, end, pieces=len(group.pieces)))


async def _end_of(runtime: Runtime, handler: Handler, claim: Claim, body: asyncio.Future[None]) -> Outcome:
    try:
        await asyncio.wait({body})
    except asyncio.CancelledError:
        body.cancel()
        await asyncio.gather(body, return_exceptions=True)
        await asyncio.shield(_release(runtime, handler, claim))
        raise
    if body.cancelled():
        return _lost(claim)
    error = body.exception()
    if error is None:
        return Outcome(claim, End.COMPLETED)
    if isinstance(error, LeaseLost):
        return _lost(claim)
    if isinstance(error, Interrupted):
        return await _release(runtime, handler, claim)
    # What was foreseen says all in its sentence.
    trace = None if isinstance(error, FORESEEN) else error
    log.warning("work failed", attempt=claim.attempts, reason=_reason(error), exc_info=trace)
    return await _fail(runtime, handler, claim, _reason(error), permanent=_is_permanent(error))


def _is_permanent(error: BaseException) -> bool:
    if isinstance(error, DomainError):
        return not isinstance(error, Unavailable | Conflict)
    return isinstance(error, PermanentFailure)


def _reason(error: BaseException) -> str:
    """What the plant reads: sentences meant for people, and no more than the kind of any other error."""
    if isinstance(error, FORESEEN):
        return str(error)
    return f"internal error ({type(error).__name__}); the service's log has the details"


def _lost(held: Claim | Group) -> Outcome:
    log.info("the work is no longer held: it was cancelled, or somebody else has it")
    return Outcome(held, End.LOST, pieces=len(held.pieces) if isinstance(held, Group) else 1)


async def _release(runtime: Runtime, handler: Handler, claim: Claim) -> Outcome:
    return await _settle(
        runtime,
        claim,
        lambda: release_claim(runtime.database, handler.queue, claim),
        lambda _: Outcome(claim, End.RELEASED),
    )


async def _fail(runtime: Runtime, handler: Handler, claim: Claim, error: str, *, permanent: bool) -> Outcome:
    return await _settle(
        runtime,
        claim,
        lambda: handler.fail(runtime, claim, error, permanent=permanent),
        lambda retry_in: Outcome(claim, End.FAILED if retry_in is None else End.RETRIED, error, retry_in),
    )


async def _settle(
    runtime: Runtime,
    held: Claim | Group,
    write: Callable[[], Awaitable[float | None]],
    outcome: Callable[[float | None], Outcome],
) -> Outcome:
    """Records an end, through a database that is away for a while; after a lease's time others will have noticed."""
    give_up = time.monotonic() + runtime.settings.lease_seconds
    while True:
        try:
            return outcome(await write())
        except LeaseLost:
            return _lost(held)
        except DatabaseUnavailable:
            if time.monotonic() > give_up:
                return _lost(held)
            await asyncio.sleep(RETRY_SECONDS)


async def _beat(runtime: Runtime, handler: Handler, claim: Claim, body: asyncio.Future[None]) -> None:
    """Prolongs the lease every third of it, and stops the work when the lease is lost or cannot be known to hold."""
    lease = runtime.settings.lease_seconds
    trusted_until, pause = claim.asked_at + lease * (1 - MARGIN), lease / 3
    while True:
        await asyncio.sleep(min(pause, max(trusted_until - time.monotonic(), 0)))
        began = time.monotonic()
        try:
            async with asyncio.timeout(max(trusted_until - began, 0.01)):
                await keep_claim(runtime.database, handler.queue, claim, lease_seconds=lease)
            trusted_until, pause = began + lease * (1 - MARGIN), lease / 3
        except LeaseLost:
            body.cancel()
            return
        except Exception as error:
            # Whatever is wrong with the beat, the work must not outlive its lease.
            if not isinstance(error, DatabaseUnavailable | TimeoutError):
                log.exception("a heartbeat failed")
            pause = min(RETRY_SECONDS, lease / 10)
            if time.monotonic() + pause >= trusted_until:
                body.cancel()
                return
