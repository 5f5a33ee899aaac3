"""The worker loop: claims due work for its free slots, wakes up by NOTIFY or to poll, and stops gracefully."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import structlog

from qrtrack.database import DatabaseUnavailable
from qrtrack.domain.claims import Held
from qrtrack.domain.stopping import StopSignal
from qrtrack.postgresql.wake_ups import listen
from qrtrack.repositories.queues import PERIODIC_TASKS
from qrtrack.runtime import Runtime
from qrtrack.services.workers import REPORT_SECONDS, report_process, sign_off
from qrtrack.settings import Settings
from qrtrack.worker import schedule
from qrtrack.worker.execution import AnyHandler, WorkOutcome, run_until_idle
from qrtrack.worker.handlers import HANDLERS

log = structlog.get_logger()


@dataclass(slots=True)
class Slots:
    """The slots of one kind of work, and the work that runs in them."""

    handler: AnyHandler
    count: int
    running: dict[asyncio.Task[WorkOutcome], StopSignal] = field(default_factory=dict)

    @property
    def free(self) -> int:
        return self.count - len(self.running)


def slots_of(settings: Settings) -> list[Slots]:
    """Returns the slots of one process, for every kind of work."""
    return [Slots(handler, handler.slots(settings)) for handler in HANDLERS]


class Worker:
    """One loop for all kinds of work. Work holds no transaction and no connection while it computes."""

    def __init__(self, runtime: Runtime, slots: Sequence[Slots] | None = None) -> None:
        self._runtime = runtime
        self._slots = slots_of(runtime.settings) if slots is None else slots
        self._awake = asyncio.Event()
        self._claiming = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._is_planned = False
        self._is_away = False
        self._report_due = 0.0

    async def run(self) -> None:
        """Runs until stop(). Outages of the database and defects of one kind do not end it."""
        listening = None
        if self._runtime.settings.database_pooler == "none":
            listening = asyncio.create_task(listen(self._runtime.database.connector, self._awake.set))
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
            if listening is not None:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)

    def _note(self, *, is_away: bool) -> None:
        """Logs the begin and the end of an outage, but not each poll in between."""
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
        """Reports every few seconds that this loop is alive. A failed report does not stop any work."""
        activity, now = self._runtime.activity, time.monotonic()
        activity.polled = now
        if now < self._report_due:
            return
        self._report_due = now + REPORT_SECONDS
        try:
            await report_process(self._runtime.database, activity, poll_seconds=self._runtime.settings.poll_seconds)
        except DatabaseUnavailable:
            log.info("the database was away when this worker reported that it is alive")
        except Exception:
            log.exception("this worker could not report that it is alive: lists of workers may lack it")

    async def _sign_off(self) -> None:
        """Removes this process from the list of workers. Otherwise it would count as alive until its last report
        expires.
        """
        self._runtime.activity.polled = None
        with suppress(Exception):
            await sign_off(self._runtime.database, self._runtime.activity)

    async def _fill(self) -> bool:
        """Claims work of every kind. Returns False when the database did not answer."""
        for slots in self._slots:
            try:
                if slots.handler.queue is PERIODIC_TASKS and not self._is_planned:
                    await schedule.plan(self._runtime)
                    self._is_planned = True
                async with self._claiming:
                    await self._fill_slots(slots)
            except DatabaseUnavailable:
                return False
            except Exception:
                log.exception("claiming failed", kind=slots.handler.queue.kind)
        return True

    async def _fill_slots(self, slots: Slots) -> None:
        # Claims at most as often as there are free slots, since a claim may return less than it was asked for. Then the
        # other kinds follow.
        for _ in range(slots.free):
            if not slots.free or self._stopping.is_set():
                return
            claimed = await slots.handler.claim(self._runtime, slots.free)
            for held in claimed:
                self._begin(slots, held)
            if not claimed:
                return

    def _begin(self, slots: Slots, held: Held) -> None:
        stop = StopSignal()
        if self._stopping.is_set():
            # stop_claiming() was called during the claim, so this work is released like all other work.
            stop.set()
        task = asyncio.create_task(run_until_idle(self._runtime, slots.handler, held, stop))
        slots.running[task] = stop
        task.add_done_callback(partial(self._ended, slots))

    def _ended(self, slots: Slots, task: asyncio.Task[WorkOutcome]) -> None:
        del slots.running[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error(
                "the end of a piece of work could not be recorded: it is claimed again when its lease expires",
                exc_info=error,
            )
        elif not task.cancelled():
            self._wake_for_retry(task.result())
        self._awake.set()

    def _wake_for_retry(self, outcome: WorkOutcome) -> None:
        """Wakes the loop when the back-off of work that failed here is over, so that it does not wait for the next
        poll.
        """
        if outcome.retry_in is not None:
            asyncio.get_running_loop().call_later(outcome.retry_in, self._awake.set)

    def stop_claiming(self) -> None:
        """Claims nothing from now on. Running work is released at its next step."""
        self._stopping.set()
        for slots in self._slots:
            for stop in slots.running.values():
                stop.set()
        self._awake.set()

    async def stop(self) -> None:
        """Waits for running work within the grace period, then releases what is still running."""
        self.stop_claiming()
        grace = self._runtime.settings.shutdown_grace_seconds
        over = time.monotonic() + grace
        # A claim that is being made counts as running work.
        with suppress(TimeoutError):
            async with asyncio.timeout(grace), self._claiming:
                pass
        tasks = [task for slots in self._slots for task in slots.running]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=max(over - time.monotonic(), 0))
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
