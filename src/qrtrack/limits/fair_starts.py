"""The order in which requests start: one per organisation in each iteration of the event loop."""

import asyncio
import time
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Final
from weakref import WeakValueDictionary

# After a change from one organisation to another, both count as active for this long.
ACTIVE_SECONDS: Final = 1.0
# Time between two starts of one organisation while others are active: 100 starts a second, a third of what a process
# can do.
SPACING_SECONDS: Final = 0.01


class Crowd:
    """Knows whether the active organisation has changed within ACTIVE_SECONDS: then several count as active."""

    def __init__(self) -> None:
        self._latest: Hashable = None
        self._until = 0.0

    def notice(self, share: Hashable) -> bool:
        """Records that `share` is active now. Returns True if another share is active too."""
        now = time.monotonic()
        if self._latest not in (share, None):
            self._until = now + ACTIVE_SECONDS
        self._latest = share
        return now < self._until


@dataclass(slots=True, weakref_slot=True)
class _Starts:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    next_at: float = 0.0


class FairStarts:
    """Delays starts so that a burst of one organisation cannot fill the event loop.

    A request needs most of a millisecond before its first wait. Without the delay, a request of another organisation
    would queue behind hundreds of them at each of its steps.
    """

    def __init__(self) -> None:
        self._crowd = Crowd()
        self._shares: WeakValueDictionary[Hashable, _Starts] = WeakValueDictionary()

    async def wait(self, share: Hashable) -> None:
        """Waits until this request may start: after the earlier ones of its share, one per iteration of the loop, and
        SPACING_SECONDS apart while another share is active.
        """
        is_crowded = self._crowd.notice(share)
        mine = self._shares.setdefault(share, _Starts())
        async with mine.lock:
            await asyncio.sleep(max(0.0, mine.next_at - time.monotonic()) if is_crowded else 0)
            mine.next_at = time.monotonic() + SPACING_SECONDS
