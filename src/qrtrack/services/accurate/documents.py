"""Reading the newest known states of Accurate's documents."""

from collections.abc import Sequence

from qrtrack.database import Database
from qrtrack.domain.identity import Caller
from qrtrack.repositories.accurate.documents import Document


async def list_documents(
    database: Database,
    *,
    caller: Caller,
    type: str | None,  # noqa: A002 - the contract's name
    database_id: int | None,
    deleted: bool | None,
    after: tuple[int, str, str],
    limit: int,
) -> Sequence[Document]:
    """By database, type and entity, starting behind `after`."""
    async with database.read(tenant=caller.organisation_id) as repositories:
        return await repositories.accurate_documents.page(
            type=type, database_id=database_id, deleted=deleted, after=after, limit=limit
        )
