"""Sessions of the console, and the codes of sign-in links. The database's clock decides when they end."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from qrtrack.domain.identity import Caller
from qrtrack.repositories.base import DriverRepository

FIND = """
SELECT manufacturer_org_id, user_id, roles, station, expires_at
FROM console_sessions
WHERE token_hash = :token_hash AND expires_at > now()
"""
OPEN = """
INSERT INTO console_sessions (token_hash, manufacturer_org_id, user_id, roles, station, expires_at)
VALUES (:token_hash, :organisation, :user, :roles, :station, now() + make_interval(secs => :seconds))
"""
# One statement decides the race: of two requests that use a code at the same time, only one finds the row.
OPEN_BY_CODE = """
WITH spent AS (
    DELETE FROM console_sign_in_codes
    WHERE code_hash = :code_hash AND expires_at > now()
    RETURNING manufacturer_org_id, user_id, roles
)
INSERT INTO console_sessions (token_hash, manufacturer_org_id, user_id, roles, station, expires_at)
SELECT :token_hash, manufacturer_org_id, user_id, roles, :station, now() + make_interval(secs => :seconds)
FROM spent
"""
KEEP_CODE = """
INSERT INTO console_sign_in_codes (code_hash, manufacturer_org_id, user_id, roles, expires_at)
VALUES (:code_hash, :organisation, :user, :roles, now() + make_interval(secs => :seconds))
"""
MOVE = """
UPDATE console_sessions
SET station = :station
WHERE token_hash = :token_hash
"""
END = "DELETE FROM console_sessions WHERE token_hash = :token_hash"
# The codes are deleted as well: a link that was made before the revocation would open a session after it.
REVOKE = """
WITH codes AS (
    DELETE FROM console_sign_in_codes
    WHERE manufacturer_org_id = :organisation AND (CAST(:user AS text) IS NULL OR user_id = :user)
)
DELETE FROM console_sessions
WHERE manufacturer_org_id = :organisation AND (CAST(:user AS text) IS NULL OR user_id = :user)
"""
# One row for each person, because a revocation ends all sessions of a person.
LIST_OPEN = """
SELECT user_id,
       array_remove(array_agg(DISTINCT role), NULL) AS roles,
       array_remove(array_agg(DISTINCT station), NULL) AS stations,
       count(DISTINCT token_hash)::int AS sessions,
       max(created_at) AS signed_in_at,
       max(expires_at) AS expires_at
FROM console_sessions
LEFT JOIN LATERAL unnest(roles) AS role ON true
WHERE manufacturer_org_id = :organisation AND expires_at > now()
GROUP BY user_id
ORDER BY signed_in_at DESC
LIMIT :limit
"""


class FoundSession(NamedTuple):
    manufacturer_org_id: UUID
    user_id: str
    roles: list[str]
    station: str | None
    expires_at: datetime


class SignedInUser(NamedTuple):
    user_id: str
    roles: list[str]
    stations: list[str]
    sessions: int
    signed_in_at: datetime
    expires_at: datetime


class ConsoleSessionRepository(DriverRepository):
    async def find(self, token_hash: bytes) -> FoundSession | None:
        return await self._fetch_optional(FoundSession, FIND, token_hash=token_hash)

    async def open(self, token_hash: bytes, caller: Caller, *, station: str | None, seconds: float) -> None:
        await self._execute(
            OPEN,
            token_hash=token_hash,
            organisation=caller.organisation_id,
            user=caller.user_id,
            roles=_names(caller.roles),
            station=station,
            seconds=seconds,
        )

    async def open_by_code(self, token_hash: bytes, code_hash: bytes, *, station: str | None, seconds: float) -> bool:
        """Uses the code up. Returns False if it was used, has expired or does not exist."""
        opened = await self._execute(
            OPEN_BY_CODE, token_hash=token_hash, code_hash=code_hash, station=station, seconds=seconds
        )
        return opened > 0

    async def keep_code(self, code_hash: bytes, caller: Caller, *, seconds: float) -> None:
        await self._execute(
            KEEP_CODE,
            code_hash=code_hash,
            organisation=caller.organisation_id,
            user=caller.user_id,
            roles=_names(caller.roles),
            seconds=seconds,
        )

    async def move(self, token_hash: bytes, station: str | None) -> None:
        await self._execute(MOVE, token_hash=token_hash, station=station)

    async def end(self, token_hash: bytes) -> None:
        await self._execute(END, token_hash=token_hash)

    async def revoke(self, organisation_id: UUID, user_id: str | None) -> int:
        """Ends the organisation's sessions, or those of one user. Returns how many."""
        return await self._execute(REVOKE, organisation=organisation_id, user=user_id)

    async def list_open(self, organisation_id: UUID, *, limit: int) -> Sequence[SignedInUser]:
        """Returns the people of the organisation who are signed in, the latest first."""
        return await self._fetch_all(SignedInUser, LIST_OPEN, organisation=organisation_id, limit=limit)


def _names(roles: Iterable[str]) -> list[str]:
    return sorted(str(role) for role in roles)
