"""Which organisation a GTIN or a company prefix belongs to. An exclusion constraint decides between two concurrent
claims.
"""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from qrtrack.domain.packing.gtin_owners import Items
from qrtrack.repositories.base import Repository

# The lock keeps the row until this transaction ends. A concurrent request that deletes the prefix waits, and then sees
# the GTIN of this batch.
IS_OWN = """
SELECT true
FROM gtin_owners
WHERE items @> CAST(:low AS bigint) AND manufacturer_org_id = :organisation
FOR SHARE
"""
# DO NOTHING also applies to the exclusion constraint. PostgreSQL waits for a concurrent transaction that claims the
# same numbers.
CLAIM = """
INSERT INTO gtin_owners (items, gtin, prefix, created_by, manufacturer_org_id)
VALUES (int8range(:low, :high, '[]'), CAST(:gtin AS text), CAST(:prefix AS text), :actor, :organisation)
ON CONFLICT DO NOTHING
"""
LIST_PREFIXES = """
SELECT prefix, created_by, created_at
FROM gtin_owners
WHERE manufacturer_org_id = :organisation AND prefix IS NOT NULL
ORDER BY prefix
"""
ABSORB_GTINS = """
DELETE FROM gtin_owners
WHERE items <@ int8range(:low, :high, '[]') AND gtin IS NOT NULL AND manufacturer_org_id = :organisation
"""
HAS_GTINS = """
SELECT EXISTS (
    SELECT FROM gtin_owners
    WHERE items <@ int8range(:low, :high, '[]') AND gtin IS NOT NULL AND manufacturer_org_id = :organisation)
"""
DELETE_PREFIX = """
DELETE FROM gtin_owners
WHERE prefix = :prefix AND manufacturer_org_id = :organisation
"""
# GTINs that differ only in the packaging level have the same item number.
KEEP_USED_GTINS = """
INSERT INTO gtin_owners (items, gtin, created_by, manufacturer_org_id)
SELECT int8range(item, item, '[]'), min(gtin), :actor, :organisation
FROM (SELECT gtin, substr(gtin, 2, 12)::bigint AS item
      FROM qr_batches
      WHERE manufacturer_org_id = :organisation AND gtin IS NOT NULL) AS used
WHERE item BETWEEN :low AND :high
GROUP BY item
ON CONFLICT DO NOTHING
"""
FIND = """
SELECT manufacturer_org_id AS organisation_id, gtin, prefix
FROM gtin_owners
WHERE items && int8range(:low, :high, '[]')
ORDER BY items
LIMIT 2
"""
MOVE = """
UPDATE gtin_owners
SET manufacturer_org_id = :to
WHERE items = int8range(:low, :high, '[]') AND manufacturer_org_id = :organisation
"""
COUNT_BATCHES = """
SELECT count(*)
FROM qr_batches
WHERE manufacturer_org_id = :organisation AND substr(gtin, 2, 12)::bigint BETWEEN :low AND :high
"""


class OwnPrefix(NamedTuple):
    prefix: str
    created_by: str
    created_at: datetime


class GtinOwnerRow(NamedTuple):
    """The owner of a GTIN (then `prefix` is None) or of a prefix (then `gtin` is None)."""

    organisation_id: UUID
    gtin: str | None
    prefix: str | None


class GtinOwnerRepository(Repository):
    async def claim_gtin(self, gtin: str, items: Items, *, organisation_id: UUID, actor: str) -> bool:
        """Returns False if the GTIN belongs to another organisation. Of two concurrent claims, the first to commit gets
        it.
        """
        for _ in range(2):
            if await self._find_value(bool, IS_OWN, low=items.low, organisation=organisation_id):
                return True
            if await self._claim(items, gtin=gtin, organisation_id=organisation_id, actor=actor):
                return True
        return False

    async def lock_prefixes(self, organisation_id: UUID) -> None:
        """Locks the organisation's prefixes until this transaction ends. Without it, two concurrent requests would both
        find space for one more prefix.
        """
        await self._lock(f"prefixes {organisation_id}")

    async def list_prefixes(self, organisation_id: UUID) -> list[OwnPrefix]:
        return await self._fetch_all(OwnPrefix, LIST_PREFIXES, organisation=organisation_id)

    async def claim_prefix(self, prefix: str, items: Items, *, organisation_id: UUID, actor: str) -> bool:
        """Returns False if another organisation has the prefix or one of its GTINs. The rows of the organisation's own
        GTINs with this prefix are replaced by the prefix. If a batch claims such a GTIN at the same time, the method
        waits for that transaction and tries again. Needs `lock_prefixes`.
        """
        while True:
            await self._execute(ABSORB_GTINS, **items._asdict(), organisation=organisation_id)
            if await self._claim(items, prefix=prefix, organisation_id=organisation_id, actor=actor):
                return True
            if not await self._fetch_value(bool, HAS_GTINS, **items._asdict(), organisation=organisation_id):
                return False

    async def delete_prefix(self, prefix: str, items: Items, *, organisation_id: UUID, actor: str) -> bool:
        """Deletes the prefix. GTINs of it that batches use still belong to the organisation. Returns False if there is
        no such prefix.
        """
        if not await self._execute(DELETE_PREFIX, prefix=prefix, organisation=organisation_id):
            return False
        await self._execute(KEEP_USED_GTINS, **items._asdict(), organisation=organisation_id, actor=actor)
        return True

    async def find(self, items: Items) -> list[GtinOwnerRow]:
        """Returns the first two rows of any organisation that overlap with the item numbers."""
        return await self._fetch_all(GtinOwnerRow, FIND, **items._asdict())

    async def move(self, items: Items, *, organisation_id: UUID, to: UUID) -> bool:
        """Gives the row to another organisation. Returns False if the organisation has no row with exactly this GTIN or
        prefix.
        """
        return await self._execute(MOVE, **items._asdict(), organisation=organisation_id, to=to) > 0

    async def count_batches(self, items: Items, *, organisation_id: UUID) -> int:
        """Counts the organisation's batches whose GTINs have one of these item numbers."""
        return await self._fetch_value(int, COUNT_BATCHES, **items._asdict(), organisation=organisation_id)

    async def _claim(
        self,
        items: Items,
        *,
        organisation_id: UUID,
        actor: str,
        gtin: str | None = None,
        prefix: str | None = None,
    ) -> bool:
        claimed = await self._execute(
            CLAIM, **items._asdict(), gtin=gtin, prefix=prefix, organisation=organisation_id, actor=actor
        )
        return claimed > 0
