"""Pruning of failed checks."""

from qrtrack.database import Database


async def prune_failures(database: Database) -> int:
    """Deletes failures that no limit counts any more, in small transactions; returns how many."""
    deleted, step = 0, 1
    while step:
        async with database.write() as repositories:
            step = await repositories.verification_failures.prune()
        deleted += step
    return deleted
