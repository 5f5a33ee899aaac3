"""Reconciliation: checks that all codes of a batch add up."""

from uuid import UUID

from qrtrack.database import Database
from qrtrack.domain.identity import Caller
from qrtrack.repositories.packing.reconciliation import Reconciliation


async def reconcile_batch(database: Database, *, caller: Caller, batch_id: UUID) -> Reconciliation:
    """Raises NotFound, BatchNotReady."""
    async with database.read(tenant=caller.organisation_id) as repositories:
        await repositories.batches.get_created(batch_id)
        return await repositories.reconciliation.count(batch_id)
