"""The long poll, written once: `?wait=` answers when something has changed."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeVar

from qrtrack.runtime import Runtime

# From one look to the next: at first so soon that a short job is answered at once, and the longer it takes, the less
# often, so that those who wait for a long one leave the database to the others.
SHORTEST_PAUSE: Final = 0.25
LONGEST_PAUSE: Final = 1.0
SHARE: Final = 8

View = TypeVar("View")


async def watch(
    runtime: Runtime, look: Callable[[], Awaitable[View]], seconds: float, is_enough: Callable[[View], bool]
) -> View:
    """Looks now and then until it is enough, the time is up or the process stops. Between two looks nothing is held."""
    began = time.monotonic()
    deadline = began + seconds
    while True:
        now = time.monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(min(pause_after(now - began), deadline - now)):
                await runtime.stopping.wait()
        view = await look()
        if is_enough(view) or runtime.stopping.is_set() or time.monotonic() >= deadline:
            return view


def pause_after(waited: float) -> float:
    return min(max(waited / SHARE, SHORTEST_PAUSE), LONGEST_PAUSE)
