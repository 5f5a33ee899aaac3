"""The standing worker: claims what is due for its free slots, wakes by hint or poll, stops in good order."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import structlog

from qrtrack.database import DatabaseUnavailable
from qrtrack.domain.claims import Claim, Group
from qrtrack.domain.stopping import StopSignal
from qrtrack.repositories.queues import PERIODIC_TASKS
from qrtrack.runtime import Runtime
from qrtrack.services.claims import claim_work
from qrtrack.services.workers import REPORT_SECONDS, report_process, sign_off
from qrtrack.settings import Settings
from qrtrack.wake_ups import listen
from qrtrack.worker import schedule
from qrtrack.worker.execution import Outcome, claim_next, work_off
from qrtrack.worker.handlers import HANDLERS, AnyHandler, GroupHandler

# A mail server or an endpoint may take its time; nothing else waits for it.
NOTIFIED_AT_ONCE = 4

log = structlog.get_logger()


@dataclass(slots=True)
class Lane:
    """The slots of one kind, and the work that runs in them."""

    handler: AnyHandler
    slots: int
    running: dict[asyncio.Task[Outcome], StopSignal] = field(default_factory=dict)

    @property
    def free(self) -> int:
        return self.slots - len(self.running)


def lanes_of(settings: Settings) -> list[Lane]:
    slots = {
        "creating": settings.creating_slots,
        "hashing": settings.hash_threads,
        "reverse_job": settings.reverse_job_slots,
        "webhook_event": settings.accurate_workers,
        "webhook_retry": min(settings.accurate_workers, 1),
        "webhook_stream": settings.accurate_workers,
        "notification": NOTIFIED_AT_ONCE,
        # A clean-up may take minutes, and so may a recount: the sweeper must not wait for them.
        "periodic_task": len(schedule.TASKS),
    }
    return [Lane(handler, slots[handler.queue.kind]) for handler in HANDLERS]


class Worker:
    """One loop over all lanes. Work in a slot holds no transaction and no connection while it computes."""

    def __init__(self, runtime: Runtime, lanes: Sequence[Lane] | None = None) -> None:
        self._runtime = runtime
        self._lanes = lanes_of(runtime.settings) if lanes is None else lanes
        self._awake = asyncio.Event()
        self._claiming = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._is_planned = False
        self._is_away = False
        self._report_due = 0.0

    async def run(self) -> None:
        """Until stop(); survives whatever the database does."""
        hints = None
        if self._runtime.settings.database_pooler == "none":
            hints = asyncio.create_task(listen(self._runtime.database.connector, self._awake.set))
        try:
            while not self._stopping.is_set():
                self._awake.clear()
                has_answered = await self._fill()
                self._note(is_away=not has_answered)
                if has_answered:
                    await self._report()
                await self._rest()
        finally:
            await self._sign_off()
            if hints is not None:
                hints.cancel()
                await asyncio.gather(hints, return_exceptions=True)

    def _note(self, *, is_away: bool) -> None:
        """Once when the database goes and once when it comes back, and not at every look between."""
        if is_away and not self._is_away:
            log.warning("the database cannot be reached: the worker waits for it")
        elif self._is_away and not is_away:
            log.info("the database answers again: the worker goes on")
        self._is_away = is_away

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(self._runtime.settings.poll_seconds):
                await self._awake.wait()
        except TimeoutError:
            return

    async def _report(self) -> None:
        """Says now and then that this loop is alive. That it could not be said stops no work."""
        pulse, now = self._runtime.pulse, time.monotonic()
        pulse.polled = now
        if now < self._report_due:
            return
        self._report_due = now + REPORT_SECONDS
        try:
            await report_process(self._runtime.database, pulse, poll_seconds=self._runtime.settings.poll_seconds)
        except DatabaseUnavailable:
            log.info("the database was away when this worker said that it is alive")
        except Exception:
            log.exception("this worker could not say that it is alive")

    async def _sign_off(self) -> None:
        """What cannot be taken back is believed for half a minute."""
        self._runtime.pulse.polled = None
        with suppress(Exception):
            await sign_off(self._runtime.database, self._runtime.pulse)

    async def _fill(self) -> bool:
        """Whether the database answered."""
        for lane in self._lanes:
            try:
                if lane.handler.queue is PERIODIC_TASKS and not self._is_planned:
                    await schedule.plan(self._runtime)
                    self._is_planned = True
                async with self._claiming:
                    await self._fill_lane(lane)
            except DatabaseUnavailable:
                return False
            except Exception:
                log.exception("claiming failed", kind=lane.handler.queue.kind)
        return True

    async def _fill_lane(self, lane: Lane) -> None:
        if self._stopping.is_set() or not lane.free:
            return
        handler = lane.handler
        if isinstance(handler, GroupHandler):
            while lane.free and not self._stopping.is_set() and (group := await claim_next(self._runtime, handler)):
                self._begin(lane, group)
            return
        lease_seconds = self._runtime.settings.lease_seconds
        for claim in await claim_work(self._runtime.database, handler.queue, lane.free, lease_seconds=lease_seconds):
            self._begin(lane, claim)

    def _begin(self, lane: Lane, held: Claim | Group) -> None:
        stop = StopSignal()
        if self._stopping.is_set():
            # It was asked to stop while it claimed: this work goes back like all other.
            stop.set()
        task = asyncio.create_task(work_off(self._runtime, lane.handler, held, stop))
        lane.running[task] = stop
        task.add_done_callback(partial(self._ended, lane))

    def _ended(self, lane: Lane, task: asyncio.Task[Outcome]) -> None:
        del lane.running[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the end of some work could not be recorded", exc_info=error)
        elif not task.cancelled():
            self._wake_for_retry(task.result())
        self._awake.set()

    def _wake_for_retry(self, outcome: Outcome) -> None:
        """What failed here is tried again when its delay is over, and not at the next poll after that."""
        if outcome.retry_in is not None:
            asyncio.get_running_loop().call_later(outcome.retry_in, self._awake.set)

    def stop_claiming(self) -> None:
        """At once; work under way is asked to go back to the queue at its next step."""
        self._stopping.set()
        for lane in self._lanes:
            for stop in lane.running.values():
                stop.set()
        self._awake.set()

    async def stop(self) -> None:
        """Waits for work under way within the grace, then gives the rest back."""
        self.stop_claiming()
        grace = self._runtime.settings.shutdown_grace_seconds
        over = time.monotonic() + grace
        # What is being claimed at this moment is work under way, too.
        with suppress(TimeoutError):
            async with asyncio.timeout(grace), self._claiming:
                pass
        tasks = [task for lane in self._lanes for task in lane.running]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=max(over - time.monotonic(), 0))
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
