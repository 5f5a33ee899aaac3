"""Changes many rows in small transactions, so that no request waits long for a lock."""

from collections.abc import Awaitable, Callable

from qrtrack.database import Database
from qrtrack.repositories import Repositories

Step = Callable[[Repositories], Awaitable[int]]
"""Changes some rows, and returns how many."""


async def repeat(database: Database, step: Step, tell: Callable[[int], object] = lambda _rows: None) -> int:
    """Runs the step until it changes nothing, each time in its own transaction. Returns how many rows it changed."""
    changed = 0
    while True:
        async with database.write() as repositories:
            rows = await step(repositories)
        if not rows:
            return changed
        changed += rows
        tell(rows)
