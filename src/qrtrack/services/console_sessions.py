"""Sessions of the console: signing in with a token or with a link, and signing out."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from qrtrack.database import Database
from qrtrack.domain.identity import Caller, Role
from qrtrack.repositories.console_sessions import SignedInUser

CODE_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in person, the station that they work at, and when the session ends."""

    caller: Caller
    station: str | None
    expires_at: datetime

    @property
    def person(self) -> str:
        """Whose session it is. A page names them when it changes something."""
        return f"{self.caller.organisation_id}/{self.caller.user_id}"


async def find_session(database: Database, token: str) -> Session | None:
    """Returns the session of the cookie. Every request of the console calls it, so it takes one round trip."""
    async with database.autocommit() as repositories:
        found = await repositories.console_sessions.find(_hash(token))
    if found is None:
        return None
    roles = frozenset(Role(role) for role in found.roles)
    return Session(Caller(found.user_id, found.manufacturer_org_id, roles), found.station, found.expires_at)


async def open_session(database: Database, caller: Caller, *, station: str | None, hours: float) -> str:
    """Opens a session, and returns the value of its cookie. Only the hash of the value is stored."""
    token = secrets.token_urlsafe(32)
    async with database.autocommit() as repositories:
        await repositories.console_sessions.open(_hash(token), caller, station=station, seconds=hours * 3600)
    return token


async def make_sign_in_code(database: Database, caller: Caller) -> str:
    """Returns the code of a sign-in link, which opens one session within ten minutes."""
    code = secrets.token_urlsafe(32)
    async with database.autocommit() as repositories:
        await repositories.console_sessions.keep_code(_hash(code), caller, seconds=CODE_SECONDS)
    return code


async def open_session_by_code(database: Database, code: str, *, station: str | None, hours: float) -> str | None:
    """Opens a session like `open_session`. Returns None if the link was used or has expired. Of two people who use a
    link at the same time, one is signed in.
    """
    token = secrets.token_urlsafe(32)
    async with database.write() as repositories:
        opened = await repositories.console_sessions.open_by_code(
            _hash(token), _hash(code), station=station, seconds=hours * 3600
        )
    return token if opened else None


async def move_session(database: Database, token: str, *, station: str | None) -> None:
    """Changes the station of the session."""
    async with database.autocommit() as repositories:
        await repositories.console_sessions.move(_hash(token), station)


async def end_session(database: Database, token: str) -> None:
    async with database.write() as repositories:
        await repositories.console_sessions.end(_hash(token))


async def revoke_sessions(database: Database, *, organisation_id: UUID, user_id: str | None) -> int:
    """Signs out everybody of the organisation, or one user, and voids their unused links. Returns how many sessions
    ended.
    """
    async with database.write() as repositories:
        return await repositories.console_sessions.revoke(organisation_id, user_id)


async def list_signed_in(database: Database, *, caller: Caller, limit: int) -> Sequence[SignedInUser]:
    """Returns the people of the caller's organisation who are signed in, the latest first."""
    async with database.autocommit() as repositories:
        return await repositories.console_sessions.list_open(caller.organisation_id, limit=limit)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
