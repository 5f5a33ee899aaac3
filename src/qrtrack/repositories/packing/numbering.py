"""The counters of serial numbers and random codes, one for each organisation and prefix.

Each statement is one atomic upsert: concurrent batches of one prefix wait here for each other.
"""

from uuid import UUID

from qrtrack.repositories.base import Repository

TAKE_NUMBERS = """
INSERT INTO qr_serial_counters AS counter (manufacturer_org_id, prefix, last_number)
VALUES (:organisation_id, :prefix, :quantity)
ON CONFLICT (manufacturer_org_id, prefix)
DO UPDATE SET last_number = counter.last_number + EXCLUDED.last_number
RETURNING last_number
"""

COUNT_RANDOM = """
INSERT INTO qr_serial_counters AS counter (manufacturer_org_id, prefix, random_codes)
VALUES (:organisation_id, :prefix, :quantity)
ON CONFLICT (manufacturer_org_id, prefix)
DO UPDATE SET random_codes = counter.random_codes + EXCLUDED.random_codes
RETURNING random_codes
"""

SKIP_NUMBERS = """
INSERT INTO qr_serial_counters AS counter (manufacturer_org_id, prefix, last_number)
SELECT :organisation_id, prefix, number
FROM unnest(CAST(:prefixes AS text[]), CAST(:numbers AS bigint[])) AS used(prefix, number)
ORDER BY prefix
ON CONFLICT (manufacturer_org_id, prefix)
DO UPDATE SET last_number = GREATEST(counter.last_number, EXCLUDED.last_number)
"""


class NumberingRepository(Repository):
    async def take_numbers(self, organisation_id: UUID, prefix: str, quantity: int) -> int:
        """Reserves `quantity` consecutive numbers, and returns the first one."""
        last = await self._fetch_value(
            int, TAKE_NUMBERS, organisation_id=organisation_id, prefix=prefix, quantity=quantity
        )
        return last - quantity + 1

    async def count_random(self, organisation_id: UUID, prefix: str, quantity: int) -> int:
        """Adds `quantity` random codes to the prefix, and returns how many it has now."""
        return await self._fetch_value(
            int, COUNT_RANDOM, organisation_id=organisation_id, prefix=prefix, quantity=quantity
        )

    async def skip_numbers(self, organisation_id: UUID, highest: dict[str, int]) -> None:
        """Raises each prefix's counter to the highest imported number, so that no batch uses that number again."""
        await self._execute(
            SKIP_NUMBERS,
            organisation_id=organisation_id,
            prefixes=list(highest),
            numbers=list(highest.values()),
        )
