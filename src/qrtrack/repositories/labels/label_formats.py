"""An organisation's own label formats."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

from qrtrack.repositories.base import Repository

LIST = """
SELECT name, definition
FROM label_formats
ORDER BY name
"""
FIND = """
SELECT definition
FROM label_formats
WHERE name = :name
"""
STORE = """
INSERT INTO label_formats (manufacturer_org_id, name, definition, created_by)
SELECT :organisation, :name, CAST(:definition AS jsonb), :actor
WHERE (SELECT count(*) FROM label_formats WHERE name <> :name) < CAST(:most AS int)
ON CONFLICT (manufacturer_org_id, name)
DO UPDATE SET definition = EXCLUDED.definition, created_by = EXCLUDED.created_by, updated_at = now()
"""
DELETE = "DELETE FROM label_formats WHERE name = :name"


class OwnFormat(NamedTuple):
    name: str
    definition: dict[str, Any]


class LabelFormatRepository(Repository):
    async def list(self) -> list[OwnFormat]:
        return await self._fetch_all(OwnFormat, LIST)

    async def find(self, name: str) -> dict[str, Any] | None:
        return await self._find_value(dict, FIND, name=name)

    async def store(
        self, name: str, definition: Mapping[str, Any], *, organisation_id: UUID, actor: str, most: int
    ) -> bool:
        """Creates or replaces the format. Returns False if the organisation already has `most` other formats."""
        # Without the lock, two concurrent requests could both find space for one more format.
        await self._lock(f"label formats {organisation_id}")
        stored = await self._execute(
            STORE,
            organisation=organisation_id,
            name=name,
            definition=json.dumps(definition),
            actor=actor,
            most=most,
        )
        return stored > 0

    async def delete(self, name: str) -> bool:
        return await self._execute(DELETE, name=name) > 0
