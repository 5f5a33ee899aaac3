"""The revision of the database's schema: migrates it, and refuses to run on another revision."""

import re
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Final

import asyncpg
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from qrtrack.domain.errors import Unavailable
from qrtrack.models import Table
from qrtrack.postgresql.database_checks import DatabaseUnfit, refuse_unfit
from qrtrack.postgresql.outages import reason_of
from qrtrack.postgresql.tenant_role import provide_role, quoted, refuse_shared_role, try_role_in_migration
from qrtrack.repositories.base import DURABLE
from qrtrack.settings.values import DEFAULT_TENANT_ROLE

# Removes the time limits of the database's provider: they are meant for requests, while a migration may take long and
# wait for another one. Some versions of PostgreSQL lack some of these settings.
NO_LIMITS = """
SELECT set_config(name, '0', true) FROM pg_settings
WHERE name IN ('statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout', 'lock_timeout')
"""
TAKE_TURNS = "SELECT pg_advisory_xact_lock(hashtextextended('qrtrack migrations', 0))"
# A migration that waits for a table's lock blocks every later request, so it gives up after 5 s.
GIVE_UP = "SET LOCAL lock_timeout = '5s'"


# The errors for a table, a column, a function or another object that exists already.
ALREADY_THERE: Final = ("42P07", "42701", "42723", "42710")
# The form of every revision since the last squash: a number of four digits and the area. Development versions named
# their revisions otherwise (`20261126_labels`). The squash replaced those migrations, so none leads on from them.
NUMBERED: Final = re.compile(r"\d{4}_\w+")


class SchemaBehind(Unavailable):
    """The database has an older revision than the program, or none. Run `qrtrack migrate`."""

    slug = "schema-behind"
    title = "The database's schema does not fit the program"


class SchemaNewer(Unavailable):
    """The database has a revision that this program does not know."""

    slug = "schema-newer"
    title = "The database was migrated by a newer version"

    def __init__(self, revision: str) -> None:
        super().__init__(
            f"This database was migrated by a newer version (revision {revision}): install that version. To go back, "
            "restore a backup of before the migration (docs/deploying.md, Going back)."
        )


def _config(connection: Connection | None = None, *, tenant_role: str = DEFAULT_TENANT_ROLE) -> Config:
    installed = Path(__file__).parents[1] / "migrations"
    config = Config()
    location = installed if installed.is_dir() else Path(__file__).parents[3] / "migrations"
    # Alembic interpolates its options, so a percent sign must be doubled.
    config.set_main_option("script_location", str(location).replace("%", "%%"))
    config.attributes["connection"] = connection
    config.attributes["tenant_role"] = quoted(tenant_role)
    return config


async def migrate(engine: AsyncEngine, *, tenant_role: str = DEFAULT_TENANT_ROLE) -> str:
    """Migrates the database to the newest revision and creates the role of requests, in one transaction: a refused
    migration has changed nothing. Returns the revision. Two processes may call it at once. One check is repeated after
    the commit: whether another database uses the role.

    Raises DatabaseUnfit, TenantRoleUnusable or SchemaNewer.
    """
    async with engine.begin() as connection:
        revision = await connection.run_sync(partial(_migrate, tenant_role=tenant_role))
    async with engine.connect() as connection:
        # If two databases of one cluster migrate at the same time, each sees the other's rights only after the commit.
        await connection.run_sync(refuse_shared_role, tenant_role)
    return revision


def _migrate(connection: Connection, *, tenant_role: str) -> str:
    for statement in (DURABLE, NO_LIMITS, TAKE_TURNS, GIVE_UP):
        connection.execute(text(statement))
    refuse_unfit(connection)
    _refuse_unknown(_current(connection))
    provide_role(connection, tenant_role)
    try:
        command.upgrade(_config(connection, tenant_role=tenant_role), "head")
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) not in ALREADY_THERE:
            raise
        raise DatabaseUnfit(
            f"The database already contains an object that the migration would create ({reason_of(error)}). "
            "Nothing was changed. Name an empty database in DATABASE_URL, or restore a backup into one."
        ) from error
    try_role_in_migration(connection, tenant_role)
    return str(_current(connection))


async def check_revision(connection: "asyncpg.Connection[asyncpg.Record]") -> str:
    """Returns the revision. Raises SchemaBehind with the command that helps, SchemaNewer or DatabaseUnfit."""
    head = _newest()
    try:
        current = await read_revision(connection)
    except asyncpg.InsufficientPrivilegeError as error:
        raise DatabaseUnfit(f"{error}: the tables belong to another user. Name their owner in DATABASE_URL.") from error
    _refuse_unknown(current)
    if current is None or current != head:
        raise SchemaBehind(
            f"The database is at revision {current or 'none'} but the program needs {head}. Run: qrtrack migrate"
        )
    return current


def _refuse_unknown(revision: str | None) -> None:
    if is_before_release(revision):
        raise DatabaseUnfit(
            f"This database was made by a development version from before the first release (revision {revision}), and "
            "no migration leads from there to this version. Start with an empty database. docs/troubleshooting.md says "
            "what to export before (A database from before the first release)."
        )
    if revision is not None and not is_known(revision):
        raise SchemaNewer(revision)


async def read_revision(connection: "asyncpg.Connection[asyncpg.Record]") -> str | None:
    """Returns None for a database without the schema."""
    with suppress(asyncpg.UndefinedTableError):
        revision: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
        return revision
    return None


def is_newest(revision: str) -> bool:
    return revision == _newest()


def is_before_release(revision: str | None) -> bool:
    """Returns whether a development version made the database, with migrations that this version no longer contains."""
    return revision is not None and NUMBERED.fullmatch(revision) is None


def is_known(revision: str) -> bool:
    """Returns whether this version of the program contains the migration. A newer version may have made it."""
    return revision in _known()


@lru_cache
def _newest() -> str | None:
    return ScriptDirectory.from_config(_config()).get_current_head()


@lru_cache
def _known() -> frozenset[str]:
    return frozenset(script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions())


async def differences(engine: AsyncEngine) -> list[str]:
    """Returns the differences between the models and the migrated database. Any difference means that a migration is
    missing.
    """

    def compare(connection: Connection) -> list[str]:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        return [str(difference) for difference in compare_metadata(context, Table.metadata)]

    async with engine.connect() as connection:
        return await connection.run_sync(compare)


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()
