"""Checks a database before the program creates anything in it: its version, its encoding, the schema of its tables."""

from typing import Final, NamedTuple

from sqlalchemy import Connection, text

from qrtrack.domain.errors import Unavailable

OLDEST: Final = 150000
LOOK = """
SELECT current_setting('server_version_num')::int AS version, current_setting('server_version') AS version_name,
       current_setting('server_encoding') AS encoding, current_schema() AS schema,
       current_database() AS database, quote_ident(current_database()) AS quoted_database,
       quote_ident(current_user) AS quoted_user,
       COALESCE(has_schema_privilege(to_regnamespace('public')::oid, 'CREATE'), false) AS may_create,
       pg_has_role(current_user, (SELECT datdba FROM pg_database WHERE datname = current_database()), 'USAGE')
           AS is_owner
"""


class DatabaseUnfit(Unavailable):
    """The service cannot keep its data in this database. The message says how to create a suitable one."""

    slug = "database-unfit"
    title = "The database does not fit"


class _Found(NamedTuple):
    version: int
    version_name: str
    encoding: str
    schema: str | None
    database: str
    quoted_database: str
    quoted_user: str
    may_create: bool
    is_owner: bool


def refuse_unfit(connection: Connection) -> None:
    """Raises DatabaseUnfit if the service cannot use the database. The caller runs it before a migration changes
    anything.
    """
    found = _Found(*connection.execute(text(LOOK)).one())
    if found.version < OLDEST:
        raise DatabaseUnfit(f"This is PostgreSQL {found.version_name}: use PostgreSQL 15 or newer.")
    refuse_encoding(found.encoding, found.database, found.quoted_user)
    if found.schema != "public" and (found.schema or found.may_create):
        # Requests run under another role. For that role, "$user" in search_path is another schema.
        raise DatabaseUnfit(
            f"search_path leads {found.quoted_user} to {_named(found.schema)}, and the tables of "
            f"qrtrack are in public. Run: ALTER ROLE {found.quoted_user} IN DATABASE {found.quoted_database} SET "
            "search_path = public"
        )
    if not found.may_create:
        raise DatabaseUnfit(
            f"permission denied for schema public: {found.quoted_user} may not create tables in it. "
            f"(Since PostgreSQL 15, a user needs a right for this.) Ask an administrator to run: {_remedy(found)}"
        )


def _named(schema: str | None) -> str:
    return f"the schema {schema}" if schema else "no schema"


def _remedy(found: _Found) -> str:
    if found.is_owner:
        return f"GRANT CREATE ON SCHEMA public TO {found.quoted_user}"
    return f"ALTER DATABASE {found.quoted_database} OWNER TO {found.quoted_user}"


def refuse_encoding(encoding: str, database: str, user: str) -> None:
    """Raises DatabaseUnfit. `user` (quoted) is named as the owner of the new database that the message suggests."""
    if encoding != "UTF8":
        name = f'"{database}_utf8"'
        raise DatabaseUnfit(
            f'The database "{database}" has the encoding {encoding}, and qrtrack needs UTF8. Make another one and name '
            f"it in DATABASE_URL: CREATE DATABASE {name} OWNER {user} ENCODING 'UTF8' LOCALE 'C.UTF-8' TEMPLATE "
            "template0"
        )
