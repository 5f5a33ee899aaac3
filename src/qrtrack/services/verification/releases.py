"""Releases batches for sale. Before its release, a check with a right root key answers `not_released`."""

from datetime import datetime
from uuid import UUID

from qrtrack.database import Database
from qrtrack.domain.errors import InvalidState
from qrtrack.domain.identity import Caller
from qrtrack.domain.instants import rfc3339
from qrtrack.repositories.verification.releases import ReleasedBatch


class AlreadyReleased(InvalidState):
    """The batch is released, and a release cannot be moved or taken back. A recall stops the sale."""

    slug = "already-released"
    title = "The batch is released already"


async def release_batch(database: Database, *, caller: Caller, batch_id: UUID, at: datetime | None) -> ReleasedBatch:
    """Releases the batch at the time `at`; None means now. The time of a future release can be changed until it has
    come. If the batch is on sale already, a call without `at` changes nothing.

    Raises NotFound, InvalidState for a batch that needs no release, AlreadyReleased.
    """
    async with database.write(tenant=caller.organisation_id) as repositories:
        is_changed = await repositories.releases.release(batch_id, at, actor=caller.user_id)
        batch = await repositories.releases.get(batch_id)
        if not batch.requires_release:
            raise InvalidState(
                "This batch needs no release: it counts as released. `requires_release` is set when a batch is created."
            )
        assert batch.released_at is not None
        if is_changed:
            details = {"released_at": rfc3339(batch.released_at)}
            await repositories.trace.add("batch.released", caller=caller, batch_id=batch_id, details=details)
        elif at is not None:
            raise AlreadyReleased(
                f"This batch is released since {batch.released_at:%Y-%m-%d %H:%M} UTC, and that cannot be changed. To "
                "stop its sale, recall it."
            )
        return repositories.answer(batch)
