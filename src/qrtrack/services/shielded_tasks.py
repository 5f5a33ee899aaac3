"""Work that neither a caller who hangs up nor the end of the server may cut off: it ends by its own deadline."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

Result = TypeVar("Result")

log = structlog.get_logger(__name__)


class InFlight:
    """Holds the tasks, since a task that nobody holds may vanish; the process waits for them before it closes."""

    def __init__(self) -> None:
        self._deadlines: dict[asyncio.Task[Any], float] = {}

    async def run(self, work: Coroutine[Any, Any, Result], *, seconds: float) -> Result:
        """Does the work in a task of its own. Who waits here may be cancelled, the work goes on."""
        task = asyncio.create_task(work)
        self._deadlines[task] = asyncio.get_running_loop().time() + seconds
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        del self._deadlines[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.info("work in flight ended without a result", reason=type(error).__name__)

    @property
    def remaining_seconds(self) -> float:
        """How long the last of them may still take."""
        now = asyncio.get_running_loop().time()
        return max((deadline - now for deadline in self._deadlines.values()), default=0.0)

    async def finish(self) -> None:
        if self._deadlines:
            log.info("waiting for work in flight", tasks=len(self._deadlines))
            await asyncio.wait(list(self._deadlines))
