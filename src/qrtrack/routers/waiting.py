"""The long poll of all routes: a request with `?wait=` is answered when something has changed or the time is up."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Annotated, Final, TypeVar

from fastapi import Depends, Request, Response

from qrtrack.domain.identity import Caller
from qrtrack.routers.dependencies import KnownCaller, RuntimeState
from qrtrack.runtime import Runtime

# The pause between two polls. It is short at first, so that a short job is answered at once. It grows with the waiting
# time, so that callers who wait for a long job leave the database to others.
SHORTEST_PAUSE: Final = 0.25
LONGEST_PAUSE: Final = 1.0
SHARE: Final = 8

# Seconds after which a caller without a place to wait should come back: the usual interval of a front end's polls.
COME_AGAIN_SECONDS: Final = 3

View = TypeVar("View")


class Waiter:
    """The long poll of one request."""

    def __init__(self, request: Request, response: Response, runtime: Runtime, caller: Caller) -> None:
        self._request = request
        self._response = response
        self._runtime = runtime
        self._caller = caller.organisation_id, caller.user_id

    async def watch(
        self,
        look: Callable[[], Awaitable[View]],
        seconds: float,
        is_enough: Callable[[View], bool],
        *,
        seen: View | None = None,
    ) -> View:
        """Polls until the predicate holds, the time is up, the client disconnects or the process stops. Holds no
        connection between two polls.

        If too many requests already wait, it returns at once what the caller has `seen`, or polls once. Then
        Retry-After says when to come again.
        """
        with self._runtime.long_polls.place(self._caller) as has_place:
            if has_place:
                return await self._watch(look, seconds, is_enough)
        self._response.headers["Retry-After"] = str(COME_AGAIN_SECONDS)
        return await look() if seen is None else seen

    async def follow(
        self,
        look: Callable[[], Awaitable[View]],
        seconds: float,
        *,
        has_ended: Callable[[View], bool],
        state: Callable[[View], object],
    ) -> View:
        """Returns the view at once if it has ended, or without `seconds`. Otherwise waits for a change of its state."""
        before = await look()
        if not seconds or has_ended(before):
            return before
        known = state(before)
        return await self.watch(look, seconds, lambda view: state(view) != known, seen=before)

    async def _watch(
        self, look: Callable[[], Awaitable[View]], seconds: float, is_enough: Callable[[View], bool]
    ) -> View:
        began = time.monotonic()
        deadline = began + seconds
        stopping = self._runtime.stopping
        while True:
            now = time.monotonic()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(pause_after(now - began), deadline - now)):
                    await stopping.wait()
            view = await look()
            is_over = stopping.is_set() or time.monotonic() >= deadline
            if is_over or is_enough(view) or await self._request.is_disconnected():
                return view


async def long_poll(request: Request, response: Response, runtime: RuntimeState, caller: KnownCaller) -> Waiter:
    # FastAPI would call the class itself, as a dependency, in a thread.
    return Waiter(request, response, runtime, caller)


LongPoll = Annotated[Waiter, Depends(long_poll)]


def pause_after(waited: float) -> float:
    return min(max(waited / SHARE, SHORTEST_PAUSE), LONGEST_PAUSE)
