"""Work that continues when its caller disconnects or the server stops. Each work must end by itself within its
deadline.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

Result = TypeVar("Result")

log = structlog.get_logger(__name__)


class ShieldedTasks:
    """Keeps references to the tasks, so that they are not garbage-collected. The process waits for them before it
    closes.
    """

    def __init__(self) -> None:
        self._deadlines: dict[asyncio.Task[Any], float] = {}

    async def run(self, work: Coroutine[Any, Any, Result], *, seconds: float) -> Result:
        """Runs the work in its own task. Cancelling the caller does not cancel the work."""
        task = asyncio.create_task(work)
        self._deadlines[task] = asyncio.get_running_loop().time() + seconds
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        del self._deadlines[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.info("a shielded task ended with an error", reason=type(error).__name__)

    @property
    def remaining_seconds(self) -> float:
        """Seconds until the latest deadline, or 0 if no task runs."""
        now = asyncio.get_running_loop().time()
        return max((deadline - now for deadline in self._deadlines.values()), default=0.0)

    async def finish(self) -> None:
        if self._deadlines:
            log.info("waiting for shielded tasks", tasks=len(self._deadlines))
            await asyncio.wait(list(self._deadlines))
