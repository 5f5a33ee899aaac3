"""The revision of the database's schema: bringing it up to date, and refusing to run on another one."""

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

from qrtrack.database_checks import DatabaseUnfit, refuse_unfit
from qrtrack.domain.errors import Unavailable
from qrtrack.models import Table
from qrtrack.outages import reason_of
from qrtrack.repositories.base import DURABLE
from qrtrack.settings.values import DEFAULT_TENANT_ROLE
from qrtrack.tenant_role import provide_role, quoted, refuse_shared_role, try_role_in_migration

# The limits of a provider are meant for requests. A migration may take longer, and wait for another one. Not every
# version of PostgreSQL has all of them.
NO_LIMITS = """
SELECT set_config(name, '0', true) FROM pg_settings
WHERE name IN ('statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout', 'lock_timeout')
"""
TAKE_TURNS = "SELECT pg_advisory_xact_lock(hashtextextended('qrtrack migrations', 0))"
# A migration that waits for a table's lock holds up every request behind it, so it gives up.
GIVE_UP = "SET LOCAL lock_timeout = '5s'"


# A table, a column, a function or another object of this name exists.
ALREADY_THERE: Final = ("42P07", "42701", "42723", "42710")
# Databases of development versions have one of these revisions. Before the first release one migration per area
# replaced the migrations that made them, so no migration leads on from there.
BEFORE_RELEASE: Final = re.compile(
    "20261122_.*|20261126_(money_allow_list|packing_undo|undone_packs|secret_key_fingerprint|own_parents)"
)


class SchemaBehind(Unavailable):
    """The database has an older revision than the program, or none."""

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
    installed = Path(__file__).parent / "migrations"
    config = Config()
    location = installed if installed.is_dir() else Path(__file__).parents[2] / "migrations"
    # Alembic's options are read with interpolation, in which a percent sign is written twice.
    config.set_main_option("script_location", str(location).replace("%", "%%"))
    config.attributes["connection"] = connection
    config.attributes["tenant_role"] = quoted(tenant_role)
    return config


async def migrate(engine: AsyncEngine, *, tenant_role: str = DEFAULT_TENANT_ROLE) -> str:
    """Brings the database to the newest revision and makes the role of requests, in one transaction: what is refused
    has changed nothing. Returns the revision. Safe to run twice at once.

    Raises DatabaseUnfit, TenantRoleUnusable or SchemaNewer.
    """
    async with engine.begin() as connection:
        revision = await connection.run_sync(partial(_migrate, tenant_role=tenant_role))
    async with engine.connect() as connection:
        # Two databases of one cluster that migrate at once see each other's rights only after the commit.
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
            f"The database holds something that the migration wants to make ({reason_of(error)}). "
            "Nothing was changed. Name an empty database in DATABASE_URL, or restore a backup into one."
        ) from error
    try_role_in_migration(connection, tenant_role)
    return str(_current(connection))


async def check_revision(connection: "asyncpg.Connection[asyncpg.Record]") -> str:
    """Raises SchemaBehind with the command that helps, SchemaNewer or DatabaseUnfit; returns the revision."""
    head = _newest()
    try:
        current = await read_revision(connection)
    except asyncpg.InsufficientPrivilegeError as error:
        raise DatabaseUnfit(f"{error}: the tables are another user's. Name their owner in DATABASE_URL.") from error
    _refuse_unknown(current)
    if current is None or current != head:
        raise SchemaBehind(
            f"The database is at revision {current or 'none'}, the program needs {head}. Run: qrtrack migrate"
        )
    return current


def _refuse_unknown(revision: str | None) -> None:
    if is_before_release(revision):
        raise DatabaseUnfit(
            f"This database was made by a development version from before the first release (revision {revision}), and "
            "no migration leads from there to this version. Make a new database. docs/troubleshooting.md tells how to "
            "keep the data (A database from before the first release)."
        )
    if revision is not None and not is_known(revision):
        raise SchemaNewer(revision)


async def read_revision(connection: "asyncpg.Connection[asyncpg.Record]") -> str | None:
    """None for a database without the schema."""
    with suppress(asyncpg.UndefinedTableError):
        revision: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
        return revision
    return None


def is_newest(revision: str) -> bool:
    return revision == _newest()


def is_before_release(revision: str | None) -> bool:
    """Whether a development version made the database, with migrations that this version no longer has."""
    return revision is not None and BEFORE_RELEASE.fullmatch(revision) is not None


def is_known(revision: str) -> bool:
    """Whether this version of the program has the migration: a newer one may have made it."""
    return revision in _known()


@lru_cache
def _newest() -> str | None:
    return ScriptDirectory.from_config(_config()).get_current_head()


@lru_cache
def _known() -> frozenset[str]:
    return frozenset(script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions())


async def differences(engine: AsyncEngine) -> list[str]:
    """Where the models and the migrated database differ: nowhere, or a migration is missing."""

    def compare(connection: Connection) -> list[str]:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        return [str(difference) for difference in compare_metadata(context, Table.metadata)]

    async with engine.connect() as connection:
        return await connection.run_sync(compare)


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()
