"""Reading the newest known states of Accurate's documents."""

from collections.abc import Sequence
from typing import Any

from qrtrack.database import Database
from qrtrack.domain.identity import Caller


async def list_documents(database: Database, *, caller: Caller, **filters: Any) -> Sequence[Any]:
    """The newest known state of each entity."""
    async with database.read(tenant=caller.organisation_id) as repositories:
        return await repositories.accurate_documents.page(**filters)
