"""Lists master cases."""

from collections.abc import Sequence
from uuid import UUID

from qrtrack.database import Database
from qrtrack.domain.identity import Caller
from qrtrack.repositories.packing.cases import FoundCase


async def list_cases(
    database: Database,
    *,
    caller: Caller,
    batch_id: UUID,
    status: str | None = None,
    variant: str | None = None,
    after: int,
    limit: int,
) -> Sequence[FoundCase]:
    """Raises NotFound."""
    async with database.read(tenant=caller.organisation_id) as repositories:
        await repositories.batches.get(batch_id)
        return await repositories.cases.list_of_batch(
            batch_id, status=status, variant=variant, after=after, limit=limit
        )
