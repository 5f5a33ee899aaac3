"""Recorded checks of units."""

from typing import Final, NamedTuple
from uuid import UUID

from qrtrack.domain.verification.checks import Purpose, Result
from qrtrack.repositories.base import DriverRepository

MOST_RECORDED: Final = 1000
"""At most this many consumer checks of one unit are recorded: a person who repeats a check for ever must not fill the
disk.
"""

# Only the newest rows are read, so that a unit with many checks is as fast as any other.
HISTORY: Final = f"""
SELECT count(*) AS recorded,
       count(*) FILTER (WHERE result IN ('genuine', 'genuine_seen_before')) AS check_count,
       (array_agg(result ORDER BY id DESC)
           FILTER (WHERE browser = CAST(:browser AS bytea) AND checked_at > now() - interval '30 minutes'))[1]
           AS same_look,
       count(DISTINCT network) FILTER (WHERE checked_at > now() - interval '1 day') AS networks,
       COALESCE(bool_or(network = CAST(:network AS bytea)), false) AS is_known_network
FROM (SELECT id, result, browser, network, checked_at
      FROM verifications
      WHERE batch_id = :batch_id AND sequence_number = :sequence_number AND purpose = 'consumer'
      ORDER BY id DESC
      LIMIT {MOST_RECORDED}) AS newest
"""
RECORD: Final = """
INSERT INTO verifications (manufacturer_org_id, batch_id, sequence_number, purpose, result, browser, network, actor)
VALUES (:organisation_id, :batch_id, :sequence_number, :purpose, :result, :browser, :network, :actor)
"""


class History(NamedTuple):
    """The earlier checks of a unit by consumers. `networks` counts the networks that checked it within the last day."""

    recorded: int
    check_count: int
    same_look: str | None
    networks: int
    is_known_network: bool

    @property
    def look(self) -> Result | None:
        """Returns the result of the same browser's check within the last 30 minutes, if any."""
        return None if self.same_look is None else Result(self.same_look)

    @property
    def is_full(self) -> bool:
        return self.recorded >= MOST_RECORDED


class Check(NamedTuple):
    """`browser` and `network` are hashes; `actor` is the user of a `qc` check."""

    purpose: Purpose
    browser: bytes | None = None
    network: bytes | None = None
    actor: str | None = None


class CheckRepository(DriverRepository):
    async def history(self, batch_id: UUID, sequence_number: int, check: Check) -> History:
        """Returns the earlier checks of the unit by consumers. The caller must hold the unit's lock; otherwise a
        concurrent check is missed.
        """
        return await self._fetch_one(
            History,
            HISTORY,
            batch_id=batch_id,
            sequence_number=sequence_number,
            browser=check.browser,
            network=check.network,
        )

    async def record(
        self, organisation_id: UUID, batch_id: UUID, sequence_number: int, check: Check, result: Result
    ) -> None:
        await self._execute(
            RECORD,
            organisation_id=organisation_id,
            batch_id=batch_id,
            sequence_number=sequence_number,
            result=result,
            **check._asdict(),
        )
