"""Semaphores limit how many transactions of one organisation run at the same time."""

import asyncio
from collections import Counter
from uuid import UUID, uuid4

import pytest

from qrtrack.limits import fair_starts
from qrtrack.limits.batch_semaphores import PERMITS_BESIDE_OTHERS, TenantSemaphores
from ticking import HANG_SECONDS


class Transactions:
    """The running transactions, and the largest number of each organisation at the same time."""

    def __init__(self, semaphores: TenantSemaphores) -> None:
        self.semaphores = semaphores
        self.running: Counter[UUID] = Counter()
        self.most: Counter[UUID] = Counter()

    async def run(self, tenant: UUID | None) -> None:
        async with self.semaphores.acquired(tenant):
            if tenant is not None:
                self.running[tenant] += 1
                self.most[tenant] = max(self.most[tenant], self.running[tenant])
                await asyncio.sleep(0.001)
                self.running[tenant] -= 1


@pytest.fixture(autouse=True)
def others_stay_active(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fair_starts, "ACTIVE_SECONDS", 3600.0)


async def test_one_organisation_alone_leaves_one_connection_for_the_next() -> None:
    transactions, only = Transactions(TenantSemaphores(20)), uuid4()
    await asyncio.gather(*[transactions.run(only) for _ in range(40)])
    assert transactions.most == {only: 19}


async def test_beside_others_each_has_its_few_permits() -> None:
    transactions, tenants = Transactions(TenantSemaphores(20)), [uuid4() for _ in range(3)]
    for tenant in tenants:
        await transactions.run(tenant)
    await asyncio.gather(*[transactions.run(tenant) for tenant in tenants for _ in range(40)])
    assert transactions.most == dict.fromkeys(tenants, PERMITS_BESIDE_OTHERS)


async def test_the_smallest_pool_has_a_permit_and_work_of_the_service_itself_needs_none() -> None:
    transactions, only = Transactions(TenantSemaphores(1)), uuid4()
    async with transactions.semaphores.acquired(only), asyncio.timeout(HANG_SECONDS):
        await transactions.run(None)
    await transactions.run(only)
    assert transactions.most == {only: 1}
