"""The newest known state of Accurate's documents, for reading."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row

from qrtrack.repositories.base import Repository


class AccurateDocumentRepository(Repository):
    async def page(
        self,
        *,
        type: str | None,  # noqa: A002 - the contract's name
        database_id: int | None,
        deleted: bool | None,
        after: tuple[int, str, str],
        limit: int,
    ) -> Sequence[Row[Any]]:
        """By database, type and entity, from the one after `after` on."""
        return await self._rows(
            "SELECT database_id, type, entity_id, number, action, amount, event_at, deleted, event_id, updated_at"
            " FROM accurate_documents WHERE (CAST(:type AS text) IS NULL OR type = :type)"
            " AND (CAST(:database_id AS bigint) IS NULL OR database_id = :database_id)"
            " AND (CAST(:deleted AS boolean) IS NULL OR deleted = :deleted)"
            " AND (database_id, type, entity_id) > (CAST(:after_database AS bigint), :after_type, :after_entity)"
            " ORDER BY database_id, type, entity_id LIMIT :limit",
            type=type,
            database_id=database_id,
            deleted=deleted,
            after_database=after[0],
            after_type=after[1],
            after_entity=after[2],
            limit=limit,
        )
