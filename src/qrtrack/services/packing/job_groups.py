"""Cancelling and retrying all reverse jobs that match a filter."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar
from uuid import UUID

from qrtrack.database import Database
from qrtrack.domain.identity import Caller
from qrtrack.domain.matching import MOST_COUNTED, Matching
from qrtrack.domain.packing.selections import JobGroup
from qrtrack.repositories import Repositories
from qrtrack.repositories.packing.job_groups import JobEvent
from qrtrack.repositories.queues import REVERSE_JOBS

# How many jobs one transaction changes. It locks their batches, and packing waits for those locks.
CHUNK: Final = 200
BEFORE_ALL: Final = str(UUID(int=0))

Result = TypeVar("Result")


class SoFar(NamedTuple):
    """What the earlier transactions have done. The next one changes jobs with ids above `after` and up to `last`."""

    after: str = BEFORE_ALL
    last: str = ""
    changed: int = 0
    withdrawn: int = 0


class Changed(NamedTuple):
    """How many jobs one transaction has changed, and how many prepared codes left the queue with them."""

    jobs: int
    withdrawn: int = 0


@dataclass(frozen=True, slots=True)
class CancelledJobs:
    cancelled: int
    withdrawn: int


@dataclass(frozen=True, slots=True)
class RetriedJobs:
    retried: int


async def count_jobs(database: Database, *, caller: Caller, group: JobGroup) -> Matching:
    """Counts what an action on the group would change now."""
    async with database.read(tenant=caller.organisation_id) as repositories:
        return Matching.of(await repositories.job_groups.count(group, limit=MOST_COUNTED + 1))


async def cancel_jobs(database: Database, *, caller: Caller, group: JobGroup) -> CancelledJobs:
    """Ends the jobs as `cancel_reverse_job` ends one, CHUNK jobs for each transaction. After an interruption the caller
    sends the request again, and it continues with the remaining jobs. With the same Idempotency-Key the answer counts
    all jobs, without a key only the remaining ones.
    """

    async def cancel(repositories: Repositories, ids: Sequence[UUID]) -> Changed:
        cancelled = await repositories.job_groups.cancel(group, ids)
        withdrawals = await repositories.job_groups.withdraw(cancelled)
        events = [
            JobEvent(job_id, f"Cancelled; {withdrawn} prepared codes left the queue.", {"withdrawn": withdrawn})
            for job_id, withdrawn in withdrawals
        ]
        await repositories.job_groups.record("reverse_job.cancelled", events, caller=caller, level="warn")
        return Changed(len(cancelled), sum(withdrawal.withdrawn for withdrawal in withdrawals))

    return await _change_all(database, caller, group, cancel, CancelledJobs)


async def retry_jobs(database: Database, *, caller: Caller, group: JobGroup) -> RetriedJobs:
    """Queues the failed jobs again as `retry_reverse_job` queues one, CHUNK jobs for each transaction, and after an
    interruption like `cancel_jobs`. Jobs of closed batches are left out.
    """

    async def retry(repositories: Repositories, ids: Sequence[UUID]) -> Changed:
        retried = await repositories.job_groups.retry(group, ids)
        events = [JobEvent(job_id, "Retried by a manager.", {}) for job_id in retried]
        await repositories.job_groups.record("reverse_job.retried", events, caller=caller, level="info")
        await repositories.wake_workers(REVERSE_JOBS)
        return Changed(len(retried))

    return await _change_all(database, caller, group, retry, lambda retried, _: RetriedJobs(retried))


async def _change_all(
    database: Database,
    caller: Caller,
    group: JobGroup,
    change: Callable[[Repositories, Sequence[UUID]], Awaitable[Changed]],
    result: Callable[[int, int], Result],
) -> Result:
    """Changes the matching jobs, each chunk in its own transaction. It locks the batches first, then the jobs, as
    a request that closes a batch does. Jobs that are submitted meanwhile are left out. `result` makes the answer of the
    counts; it is stored with the last chunk.
    """
    so_far = SoFar()
    while True:
        async with database.write(tenant=caller.organisation_id) as repositories:
            after, last, changed, withdrawn = repositories.continued(so_far)
            last = last or str(await repositories.job_groups.find_newest() or BEFORE_ALL)
            jobs = await repositories.job_groups.find(group, after=UUID(after), last=UUID(last), limit=CHUNK)
            await repositories.lock_batches([job.batch_id for job in jobs])
            done = await change(repositories, [job.id for job in jobs])
            changed, withdrawn = changed + done.jobs, withdrawn + done.withdrawn
            if len(jobs) < CHUNK:
                return repositories.answer(result(changed, withdrawn))
            so_far = repositories.keep_so_far(SoFar(str(jobs[-1].id), last, changed, withdrawn))
