"""The newest known states of Accurate's documents, for reading."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

from qrtrack.repositories.base import Repository

PAGE: Final = """
SELECT database_id, type, entity_id, number, action, amount, event_at, deleted, event_id, updated_at
FROM accurate_documents
WHERE (CAST(:type AS text) IS NULL OR type = :type)
AND (CAST(:database_id AS bigint) IS NULL OR database_id = :database_id)
AND (CAST(:deleted AS boolean) IS NULL OR deleted = :deleted)
AND (database_id, type, entity_id) > (CAST(:after_database AS bigint), :after_type, :after_entity)
ORDER BY database_id, type, entity_id
LIMIT :limit
"""


class Document(NamedTuple):
    database_id: int
    type: str
    entity_id: str
    number: str | None
    action: str | None
    amount: Decimal | None
    event_at: datetime
    deleted: bool
    event_id: int
    updated_at: datetime


class AccurateDocumentRepository(Repository):
    async def page(
        self,
        *,
        type: str | None,  # noqa: A002 - the contract's name
        database_id: int | None,
        deleted: bool | None,
        after: tuple[int, str, str],
        limit: int,
    ) -> Sequence[Document]:
        """Returns documents by database, type and entity, starting after `after`."""
        after_database, after_type, after_entity = after
        return await self._fetch_all(
            Document,
            PAGE,
            type=type,
            database_id=database_id,
            deleted=deleted,
            after_database=after_database,
            after_type=after_type,
            after_entity=after_entity,
            limit=limit,
        )
