"""Long work in a thread that can be told to stop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

from qrtrack.domain.stopping import StopSignal

Result = TypeVar("Result")


async def run_in_thread(threads: Executor, work: Callable[[Callable[[], bool]], Result], stop: StopSignal) -> Result:
    """Runs the work, which asks between two steps whether it is stopped. If this task is cancelled, the work is stopped
    too: the next one needs the thread.
    """
    cancelled = StopSignal()
    try:
        return await asyncio.get_running_loop().run_in_executor(
            threads, work, lambda: stop.is_set() or cancelled.is_set()
        )
    finally:
        cancelled.set()
