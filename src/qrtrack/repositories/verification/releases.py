"""The release of batches for sale."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from qrtrack.domain.batches import no_such_batch
from qrtrack.repositories.base import Repository

# A release that is in effect cannot be changed: consumers were already told that the product is genuine.
RELEASE = """
UPDATE qr_batches
SET released_at = COALESCE(CAST(:at AS timestamptz), clock_timestamp()), released_by = :actor, updated_at = now()
WHERE id = :batch_id AND requires_release AND (released_at IS NULL OR released_at > clock_timestamp())
"""
GET = """
SELECT id AS batch_id, requires_release, released_at, released_by
FROM qr_batches
WHERE id = :batch_id
"""


class ReleasedBatch(NamedTuple):
    """A batch without `requires_release` counts as released."""

    batch_id: UUID
    requires_release: bool
    released_at: datetime | None
    released_by: str | None


class ReleaseRepository(Repository):
    async def release(self, batch_id: UUID, at: datetime | None, *, actor: str) -> bool:
        """Replaces a release that is still in the future. Returns False if a release is in effect, or if the batch
        needs none. Of two concurrent releases with immediate effect, the first counts.
        """
        return await self._execute(RELEASE, batch_id=batch_id, at=at, actor=actor) > 0

    async def get(self, batch_id: UUID) -> ReleasedBatch:
        """Raises NotFound."""
        return await self._fetch_existing(ReleasedBatch, GET, no_such_batch(batch_id), batch_id=batch_id)
