"""Cost is flat: the same job, link and claim on empty tables and beside millions of older codes.

Bar: at most 1.25 times. Two servers stand side by side, one of them filled with finished batches of 1,000,000 codes
(codes, cases, queue rows, jobs, hashing chunks and trace events, as years of work leave them); the same work is done on
both in turns. 1,000,000 older codes by default, 5,000,000, the size of the bar, with `--full`.
"""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

from benchmarks.ground import HANDLER_OF, Ground, alternate, in_milliseconds, open_ground, timed
from benchmarks.report import Report
from benchmarks.seed import Seeded, seed_batch, tidy
from qrtrack.domain.packing.case_packing import PackCase
from qrtrack.domain.packing.reverse_jobs import NewJob
from qrtrack.domain.stopping import StopSignal
from qrtrack.services.claims import claim_work, release_claim
from qrtrack.services.packing.case_packing import pack_case
from qrtrack.services.packing.reverse_jobs import submit_reverse_job
from qrtrack.worker.execution import End, run_next

JOB = HANDLER_OF["reverse_job"]
JOB_CODES, JOB_ROUNDS, LINKS, CLAIMS, WARM_UP = 10_000, 15, 200, 200, 20


@dataclass
class Side:
    """One of the two servers, with the work that is repeated on it."""

    ground: Ground
    links: Seeded
    jobs: Seeded = field(init=False)
    next_case: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    async def job(self) -> float:
        """On a batch that was just made, as a plant's is: a batch cleared for each round would have cleared caches."""
        self.jobs = await seed_batch(self.ground.bare, self.ground.organisation, JOB_CODES)
        await self.ground.settle()
        return await timed(self._submit_and_run)

    async def _submit_and_run(self) -> None:
        await self.submit()
        outcome = await run_next(self.ground.runtime, JOB, StopSignal())
        assert outcome is not None
        assert outcome.end is End.COMPLETED

    async def submit(self) -> None:
        await submit_reverse_job(
            self.ground.runtime.database,
            caller=self.ground.caller,
            new=NewJob(self.jobs.batch_id, self.jobs.order_id),
        )

    async def link(self) -> float:
        request = PackCase(self.links.batch_id, self.links.order_id, self.links.master_code(next(self.next_case)))
        return await timed(partial(pack_case, self.ground.runtime.database, caller=self.ground.caller, request=request))

    async def claim(self) -> float:
        """One job waits; it is claimed, and given back outside the clock."""
        database = self.ground.runtime.database
        claims = []

        async def take() -> None:
            claims.extend(await claim_work(database, JOB.queue, 2, lease_seconds=30))

        elapsed = await timed(take)
        assert len(claims) == 1
        await release_claim(database, JOB.queue, claims[0])
        return elapsed


async def run(*, full: bool) -> Report:
    report = Report("flat")
    older = 5_000_000 if full else 1_000_000
    async with AsyncExitStack() as stack:
        empty = await stack.enter_async_context(_side(0))
        filled = await stack.enter_async_context(_side(older))
        for what, rounds, work in _repeated(empty, filled):
            await alternate(WARM_UP if rounds > WARM_UP else 1, *work)
            baseline, ours = map(in_milliseconds, await alternate(rounds, *work))
            label = f"{what}, with {older:,} older codes beside none"
            report.cost_at_most(label, "ms", ours=ours, baseline=baseline, limit=1.25)
            if what.startswith("job"):
                await empty.submit()
                await filled.submit()
        report.publish(filled.ground.machine)
    return report


def _repeated(*sides: Side) -> list[tuple[str, int, list[Callable[[], Awaitable[float]]]]]:
    return [
        (f"job of {JOB_CODES:,} codes", JOB_ROUNDS, [side.job for side in sides]),
        ("link of 100 codes", LINKS, [side.link for side in sides]),
        ("claim", CLAIMS, [side.claim for side in sides]),
    ]


@asynccontextmanager
async def _side(older: int) -> AsyncIterator[Side]:
    async with open_ground() as ground:
        for _ in range(older // 1_000_000):
            await seed_batch(ground.bare, ground.organisation, 1_000_000, packed=True)
        links = await seed_batch(ground.bare, ground.organisation, 100 * (LINKS + WARM_UP), prepared=True)
        await tidy(ground.bare)
        await ground.settle()
        yield Side(ground, links)
