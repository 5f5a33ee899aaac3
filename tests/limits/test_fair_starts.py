"""Requests of one organisation that arrive together begin one after the other, and requests of other organisations do
not wait for them.
"""

import asyncio

import pytest

from qrtrack.limits import fair_starts
from qrtrack.limits.fair_starts import FairStarts


async def test_another_organisation_begins_before_the_rest_of_a_crowd() -> None:
    starts, begun = FairStarts(), list[str]()

    async def request(organisation: str) -> None:
        await starts.wait(organisation)
        begun.append(organisation)

    await asyncio.gather(*[request("crowd") for _ in range(100)], request("neighbour"))
    assert begun.index("neighbour") <= 2
    assert begun.count("crowd") == 100


async def test_one_of_a_crowd_begins_in_a_round_of_the_loop() -> None:
    starts, begun = FairStarts(), 0

    async def request() -> None:
        nonlocal begun
        await starts.wait("crowd")
        begun += 1

    waiting = asyncio.gather(*[request() for _ in range(50)])
    most = before = 0
    while not waiting.done():
        await asyncio.sleep(0)
        most, before = max(most, begun - before), begun
    assert most == 1
    assert begun == 50


async def test_a_crowd_is_spaced_out_only_while_others_are_active(monkeypatch: pytest.MonkeyPatch) -> None:
    """An organisation that is active alone does not wait, and a single request never waits for the spacing."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(fair_starts, "ACTIVE_SECONDS", 3600.0)
    monkeypatch.setattr(fair_starts, "SPACING_SECONDS", 1000.0)
    starts = FairStarts()
    kept = starts._shares.setdefault("crowd", fair_starts._Starts())
    for _ in range(3):
        await starts.wait("crowd")
    await starts.wait("neighbour")
    assert slept == [0, 0, 0, 0]
    await starts.wait("crowd")
    assert slept[-1] > 900
    assert kept.next_at > 0
