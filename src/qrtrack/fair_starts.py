"""The order in which requests begin: one of each organisation in a round of the event loop."""

import asyncio
import time
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Final
from weakref import WeakValueDictionary

# An organisation counts as active for so long after its last request.
ACTIVE_SECONDS: Final = 1.0
# Between two beginnings of one organisation while others are active: 125 a second, under half of what a process does.
SPACING_SECONDS: Final = 0.008


class Crowd:
    """Whether more than one organisation has been active lately."""

    def __init__(self) -> None:
        self._latest: Hashable = None
        self._until = 0.0

    def notice(self, share: Hashable) -> bool:
        """`share` is active now; whether others are, too."""
        now = time.monotonic()
        if self._latest not in (share, None):
            self._until = now + ACTIVE_SECONDS
        self._latest = share
        return now < self._until


@dataclass(slots=True, weakref_slot=True)
class _Starts:
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    next_at: float = 0.0


class FairStarts:
    """Of hundreds of requests that arrive together, each takes most of a millisecond up to its first wait. Another
    organisation's request would wait for all of them at each of its own steps.
    """

    def __init__(self) -> None:
        self._crowd = Crowd()
        self._shares: WeakValueDictionary[Hashable, _Starts] = WeakValueDictionary()

    async def turn(self, share: Hashable) -> None:
        """Returns when the share's earlier requests have begun, each in a round of the loop of its own, and spaced out
        as long as another share is active.
        """
        is_crowded = self._crowd.notice(share)
        mine = self._shares.setdefault(share, _Starts())
        async with mine.turn:
            await asyncio.sleep(max(0.0, mine.next_at - time.monotonic()) if is_crowded else 0)
            mine.next_at = time.monotonic() + SPACING_SECONDS
