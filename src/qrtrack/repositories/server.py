"""What the server allows and promises: looked at once by each process that starts."""

from typing import NamedTuple

from qrtrack.repositories.base import Connection

# What is reserved for administrators is room for nobody else. Not every version has `reserved_connections`.
LIMITS = """
SELECT current_setting('fsync') = 'on' AS is_durable, current_setting('max_connections')::int AS max_connections,
       LEAST(current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
                 - COALESCE(current_setting('reserved_connections', true), '0')::int,
             NULLIF(login.rolconnlimit, -1), NULLIF(here.datconnlimit, -1)) AS allowed
FROM pg_roles AS login, pg_database AS here
WHERE login.rolname = session_user AND here.datname = current_database()
"""


class ServerLimits(NamedTuple):
    """`allowed`: connections that this user may have in this database, in all processes together."""

    is_durable: bool
    max_connections: int
    allowed: int


async def read_limits(connection: Connection) -> ServerLimits:
    row = await connection.fetchrow(LIMITS)
    assert row is not None
    return ServerLimits(*row)
