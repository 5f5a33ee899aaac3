"""Tasks that come round again: each by its name, how often, and the service that does it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from qrtrack.domain.claims import Claim
from qrtrack.domain.stopping import StopSignal
from qrtrack.runtime import Runtime
from qrtrack.services.attempts import sweep_attempts
from qrtrack.services.periodic_tasks import name_of_task, plan_next_run, plan_tasks
from qrtrack.settings import Settings

# After a failure, and for a task that only a newer version knows.
RETRY_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class PeriodicTask:
    """`every`: seconds between two runs."""

    run: Callable[[Runtime], Awaitable[object]]
    every: Callable[[Settings], float]


async def _sweep_attempts(runtime: Runtime) -> None:
    await sweep_attempts(runtime.database, deadline_seconds=runtime.settings.akselgate_deadline_seconds)


TASKS: Mapping[str, PeriodicTask] = {
    "sweep_attempts": PeriodicTask(_sweep_attempts, lambda settings: settings.akselgate_deadline_seconds / 2),
}


async def plan(runtime: Runtime) -> None:
    """Every process says what there is to do; a task that is planned already keeps its time."""
    await plan_tasks(runtime.database, {name: task.every(runtime.settings) for name, task in TASKS.items()})


async def run_task(runtime: Runtime, claim: Claim, _stop: StopSignal) -> None:
    """Runs the task by its name, and writes when it comes round again."""
    task = TASKS.get(await name_of_task(runtime.database, claim))
    if task is not None:
        await task.run(runtime)
    seconds = RETRY_SECONDS if task is None else task.every(runtime.settings)
    await plan_next_run(runtime.database, claim, seconds=seconds)


async def fail_task(runtime: Runtime, claim: Claim, error: str, *, permanent: bool) -> bool:  # noqa: ARG001 - a task never ends
    await plan_next_run(runtime.database, claim, seconds=RETRY_SECONDS, error=error)
    return False
