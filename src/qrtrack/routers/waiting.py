"""The long poll, written once: `?wait=` answers when something has changed."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeVar

from qrtrack.runtime import Runtime

LOOK_SECONDS: Final = 0.25

View = TypeVar("View")


async def watch(
    runtime: Runtime, look: Callable[[], Awaitable[View]], seconds: float, is_enough: Callable[[View], bool]
) -> View:
    """Looks now and then until it is enough, the time is up or the process stops. Between two looks nothing is held."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(min(LOOK_SECONDS, deadline - time.monotonic())):
                await runtime.stopping.wait()
        view = await look()
        if is_enough(view) or runtime.stopping.is_set() or time.monotonic() >= deadline:
            return view
