"""Periodic tasks: their names, their intervals, and the services that run them. Only one process runs a task at a time.
The end of a run sets the time of the next one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

from qrtrack.database import Database
from qrtrack.domain.claims import Claim, Interrupted
from qrtrack.domain.stopping import StopSignal
from qrtrack.integrations.accurate import Account
from qrtrack.repositories.queues import PERIODIC_TASKS
from qrtrack.runtime import Runtime
from qrtrack.services.accurate.sources import assign_events, empty_old_payloads, keep_subscription
from qrtrack.services.akselgate.attempts import sweep_attempts
from qrtrack.services.recalculation import SILENT_SECONDS, recalculate_progress
from qrtrack.services.retention import expire_keys, prune, prune_failures
from qrtrack.settings import Settings

# After so many seconds a task runs again that has failed, or that this version of the program does not know.
RETRY_SECONDS: Final = 60.0
# How often a running task checks whether it must stop.
LOOK_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class PeriodicTask:
    """A periodic task. `every`: seconds between two runs."""

    run: Callable[[Runtime], Awaitable[object]]
    every: Callable[[Settings], float]


async def _keep_subscription(runtime: Runtime) -> None:
    settings = runtime.settings
    if settings.accurate_api_token is not None:
        secret = settings.accurate_signature_secret
        account = Account(
            settings.accurate_account_url,
            settings.accurate_api_token.get_secret_value(),
            None if secret is None else secret.get_secret_value(),
            settings.accurate_signature_encoding,
        )
        await keep_subscription(runtime.database, runtime.http, account, zone=ZoneInfo(settings.accurate_timezone))


async def _assign_events(runtime: Runtime) -> None:
    forward = runtime.forwarder is not None
    await assign_events(runtime.database, runtime.settings.database_owners, forward=forward)


TASKS: Mapping[str, PeriodicTask] = {
    # Tries every hour, but renews once a day. So a failed renewal is retried while the subscription still has days
    # left.
    "accurate.renew_subscription": PeriodicTask(_keep_subscription, lambda _: 3600),
    "accurate.assign_events": PeriodicTask(_assign_events, lambda _: 30),
    "accurate.empty_payloads": PeriodicTask(
        lambda runtime: empty_old_payloads(runtime.database, days=runtime.settings.accurate_payload_days),
        lambda _: 3600,
    ),
    "expire_keys": PeriodicTask(lambda runtime: expire_keys(runtime.database), lambda _: 3600),
    "prune": PeriodicTask(
        lambda runtime: prune(runtime.database, days=runtime.settings.retention_days), lambda _: 24 * 3600
    ),
    "prune_verification_failures": PeriodicTask(lambda runtime: prune_failures(runtime.database), lambda _: 3600),
    "recalculate_progress": PeriodicTask(
        lambda runtime: recalculate_progress(runtime.database), lambda _: SILENT_SECONDS
    ),
    "sweep_attempts": PeriodicTask(
        lambda runtime: sweep_attempts(runtime.database), lambda settings: settings.akselgate_deadline_seconds / 2
    ),
}


async def plan(runtime: Runtime) -> None:
    """Inserts missing tasks. A planned task keeps its time."""
    async with runtime.database.write() as repositories:
        await repositories.periodic_tasks.plan({name: task.every(runtime.settings) for name, task in TASKS.items()})


async def run_task(runtime: Runtime, claim: Claim, stop: StopSignal) -> None:
    """Runs the task, and sets the time of its next run. Raises Interrupted."""
    async with runtime.database.read() as repositories:
        task = TASKS.get(await repositories.periodic_tasks.name_of(claim.number))
    if task is not None:
        await _run_until_stopped(task.run(runtime), stop)
    seconds = RETRY_SECONDS if task is None else task.every(runtime.settings)
    await _repeat(runtime.database, claim, after=seconds)


async def _run_until_stopped(work: Awaitable[object], stop: StopSignal) -> None:
    """Cancels the work wherever it waits: every task may be stopped anywhere, and its next run continues."""
    running = asyncio.ensure_future(work)
    try:
        while not running.done():
            if stop.is_set():
                raise Interrupted
            await asyncio.wait({running}, timeout=LOOK_SECONDS)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    running.result()


async def fail_task(database: Database, claim: Claim, error: str, *, permanent: bool) -> float:  # noqa: ARG001 - a task never ends
    await _repeat(database, claim, after=RETRY_SECONDS, error=error)
    return RETRY_SECONDS


async def _repeat(database: Database, claim: Claim, *, after: float, error: str | None = None) -> None:
    async with database.write() as repositories:
        await repositories.leased(PERIODIC_TASKS).repeat(claim, after=after, error=error)
