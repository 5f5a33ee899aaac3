"""Runs work that keeps a processor busy for long: one piece at a time in this process, with a fair share for each
organisation.

Python runs one thread at a time. Eight threads that parse long lists would leave a ninth of the time to the event loop,
and with it to every other request. One organisation that keeps a single thread busy would still take half of it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, ParamSpec, TypeVar

from qrtrack.domain.errors import Unavailable

# After a piece, its organisation pauses for this many times the duration of the piece: it gets 4 % of the process.
REST_FACTOR: Final = 25
# This much of each piece does not count: shorter pieces cost others almost nothing, and cause no pause.
FREE_SECONDS: Final = 0.02
# Pieces longer than 0.4 s reach this limit: their organisation gets more than 4 %.
LONGEST_REST_SECONDS: Final = 10.0
WAITING_PER_ORGANISATION: Final = 32

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class TooMuchWork(Unavailable):
    """So many large requests or exports of the organisation are in progress that this one would wait too long."""

    slug = "too-much-work"
    title = "Too many large requests at once"
    message = "Your organisation has too many large requests or exports in progress: send this one again in a moment."


@dataclass(slots=True)
class _Share:
    """One organisation's work: one piece at a time, and none before `rested`."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0
    rested: float = 0.0


class HeavyWork:
    """Runs functions in a thread. The `share` of a function is an organisation, or all webhooks of Accurate together.
    Once `stopping` is set there are no more pauses, so that waiting requests are answered before the process ends.
    """

    def __init__(self, stopping: asyncio.Event) -> None:
        self._stopping = stopping
        self._one_at_a_time = asyncio.Lock()
        self._shares: dict[Hashable, _Share] = {}

    async def run(
        self,
        share: Hashable,
        function: Callable[Arguments, Result],
        *arguments: Arguments.args,
        **options: Arguments.kwargs,
    ) -> Result:
        """Returns or raises what the function does. Raises TooMuchWork when too many of the same share wait already."""
        async with self._when_rested(share) as mine, self._one_at_a_time:
            began = time.monotonic()
            try:
                return await asyncio.to_thread(function, *arguments, **options)
            finally:
                ended = time.monotonic()
                rest = (ended - began - FREE_SECONDS) * REST_FACTOR
                mine.rested = ended + min(max(rest, 0.0), LONGEST_REST_SECONDS)

    @asynccontextmanager
    async def _when_rested(self, share: Hashable) -> AsyncIterator[_Share]:
        """Waits for the earlier pieces of the share and for its pause. Raises TooMuchWork."""
        mine = self._shares.setdefault(share, _Share())
        if mine.users > WAITING_PER_ORGANISATION:
            raise TooMuchWork
        mine.users += 1
        try:
            async with mine.lock:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), max(0.0, mine.rested - time.monotonic()))
                yield mine
        finally:
            mine.users -= 1
            self._forget_rested()

    def _forget_rested(self) -> None:
        now = time.monotonic()
        for share, state in list(self._shares.items()):
            if not state.users and state.rested <= now:
                del self._shares[share]
