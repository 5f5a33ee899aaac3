"""The limits and guarantees of the database server, which each process reads at its start, and its version."""

from typing import Final, NamedTuple

from qrtrack.repositories.base import DriverRepository

# Connections that are reserved for administrators do not count. Older versions have no `reserved_connections`.
GET_LIMITS: Final = """
SELECT current_setting('fsync') = 'on' AS is_durable,
       current_setting('max_connections')::int AS max_connections,
       LEAST(current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
                 - COALESCE(current_setting('reserved_connections', true), '0')::int,
             NULLIF(login.rolconnlimit, -1), NULLIF(here.datconnlimit, -1)) AS allowed
FROM pg_roles AS login, pg_database AS here
WHERE login.rolname = session_user AND here.datname = current_database()
"""
GET_STATE: Final = """
SELECT current_setting('server_encoding') AS encoding, current_database() AS database,
       quote_ident(current_user) AS quoted_user, current_setting('transaction_read_only')::bool AS is_read_only
"""
GET_VERSIONS: Final = """
SELECT current_setting('server_version') AS server, (SELECT version_num FROM alembic_version) AS revision
"""


class ServerLimits(NamedTuple):
    """The limits of the server. `allowed` is the largest number of connections to this database that all processes
    together can open as this user.
    """

    is_durable: bool
    max_connections: int
    allowed: int


class ServerState(NamedTuple):
    encoding: str
    database: str
    quoted_user: str
    is_read_only: bool


class DatabaseVersions(NamedTuple):
    """The versions of PostgreSQL and of the schema."""

    server: str
    revision: str


class ServerRepository(DriverRepository):
    async def limits(self) -> ServerLimits:
        return await self._fetch_one(ServerLimits, GET_LIMITS)

    async def state(self) -> ServerState:
        """Readiness calls it at each check."""
        return await self._fetch_one(ServerState, GET_STATE)

    async def versions(self) -> DatabaseVersions:
        return await self._fetch_one(DatabaseVersions, GET_VERSIONS)
