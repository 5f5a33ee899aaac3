"""The memory for bodies: a body that does not fit waits unread, and no organisation uses the share of another."""

import asyncio
from collections.abc import Hashable
from contextlib import AsyncExitStack

import pytest

from qrtrack.limits.body_budget import IN_ALL, MIB, MOST_OF_ONE, PER_SHARE, UNCOUNTED, WAITING_PER_SHARE, BodyBudget
from qrtrack.limits.heavy_work import TooMuchWork
from ticking import HANG_SECONDS


class Upload:
    """A body that holds its memory until `end` is set."""

    def __init__(self, budget: BodyBudget, share: Hashable, length: int) -> None:
        self.has_begun = asyncio.Event()
        self.end = asyncio.Event()
        self.task = asyncio.create_task(self._run(budget, share, length))

    async def _run(self, budget: BodyBudget, share: Hashable, length: int) -> None:
        async with budget.reserve(share, length):
            self.has_begun.set()
            await self.end.wait()


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_sixty_unfinished_bodies_of_one_organisation_hold_its_share_and_no_more() -> None:
    budget = BodyBudget()
    uploads = [Upload(budget, "greedy", 15 * MIB) for _ in range(60)]
    await settled()
    assert budget.held == {"greedy": 30 * MIB}
    modest = Upload(budget, "modest", MOST_OF_ONE)
    await asyncio.wait_for(modest.has_begun.wait(), HANG_SECONDS)
    for upload in [*uploads, modest]:
        upload.end.set()
    await asyncio.gather(*(upload.task for upload in [*uploads, modest]))
    assert all(upload.has_begun.is_set() for upload in uploads)
    assert (budget.held, budget.waiting) == ({}, {})


async def test_all_organisations_together_hold_no_more_than_the_budget() -> None:
    budget = BodyBudget()
    uploads = [Upload(budget, number % 10, MOST_OF_ONE) for number in range(20)]
    await settled()
    assert budget.held.total() == IN_ALL
    assert max(budget.held.values()) <= PER_SHARE
    for upload in uploads:
        upload.end.set()
    await asyncio.gather(*(upload.task for upload in uploads))


async def test_a_body_longer_than_any_in_memory_counts_as_the_longest() -> None:
    """An import of 128 MiB is spooled to disk."""
    budget = BodyBudget()
    async with budget.reserve("organisation", 128 * MIB):
        assert budget.held == {"organisation": MOST_OF_ONE}


async def test_a_small_body_waits_for_nothing() -> None:
    budget = BodyBudget()
    async with AsyncExitStack() as held:
        for _ in range(2):
            await held.enter_async_context(budget.reserve("greedy", MOST_OF_ONE))
        async with asyncio.timeout(HANG_SECONDS), budget.reserve("greedy", UNCOUNTED):
            assert budget.held == {"greedy": PER_SHARE}


async def test_a_caller_who_hangs_up_while_waiting_leaves_the_queue() -> None:
    budget = BodyBudget()
    holding, leaving = [Upload(budget, "greedy", PER_SHARE) for _ in range(2)], Upload(budget, "greedy", MIB)
    await settled()
    leaving.task.cancel()
    await asyncio.gather(leaving.task, return_exceptions=True)
    for upload in holding:
        upload.end.set()
    await asyncio.gather(*(upload.task for upload in holding))
    assert not leaving.has_begun.is_set()
    assert (budget.held, budget.waiting) == ({}, {})


async def test_the_budget_refuses_an_organisation_with_too_many_waiting_bodies() -> None:
    budget = BodyBudget()
    uploads = [Upload(budget, "greedy", MOST_OF_ONE) for _ in range(2 + WAITING_PER_SHARE)]
    await settled()
    with pytest.raises(TooMuchWork):
        async with budget.reserve("greedy", MOST_OF_ONE):
            pass
    for upload in uploads:
        upload.end.set()
    await asyncio.gather(*(upload.task for upload in uploads))
