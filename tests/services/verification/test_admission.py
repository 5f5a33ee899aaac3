"""How many checks run at a time, and how one network's burst delays another's."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from qrtrack.services.verification.admission import (
    MOST_WAITING,
    MOST_WAITING_OF_SHARE,
    Admission,
    VerificationBusy,
)


async def test_another_networks_check_waits_for_one_round_of_a_burst_and_not_for_all_of_it() -> None:
    admission, order = Admission(1), list[str]()

    async def check(share: str, name: str) -> None:
        async with admission.slot(share):
            order.append(name)
            await asyncio.sleep(0)

    burst = [asyncio.create_task(check("near", f"near {place}")) for place in range(50)]
    await asyncio.sleep(0)
    other = asyncio.create_task(check("far", "far"))
    await asyncio.gather(*burst, other)
    assert order.index("far") <= 3
    assert len(order) == 51


async def test_too_many_checks_are_refused_until_places_become_free() -> None:
    admission = Admission(2)
    async with AsyncExitStack() as running:
        for place in range(2):
            await running.enter_async_context(admission.slot(f"busy {place}"))
        waiting = [asyncio.create_task(_wait(admission, "near")) for _ in range(MOST_WAITING_OF_SHARE)]
        await asyncio.sleep(0)
        with pytest.raises(VerificationBusy):
            await _wait(admission, "near")
        waiting += [
            asyncio.create_task(_wait(admission, f"far {place % 10}"))
            for place in range(MOST_WAITING - MOST_WAITING_OF_SHARE - 2)
        ]
        await asyncio.sleep(0)
        with pytest.raises(VerificationBusy):
            await _wait(admission, "anybody")
        waiting.pop().cancel()
        await asyncio.sleep(0)
        waiting.append(asyncio.create_task(_wait(admission, "anybody")))
        await asyncio.sleep(0)
    await asyncio.gather(*waiting, return_exceptions=True)
    assert not admission._shares
    await _wait(admission, "near")


async def _wait(admission: Admission, share: str) -> None:
    async with admission.slot(share):
        await asyncio.sleep(0)
