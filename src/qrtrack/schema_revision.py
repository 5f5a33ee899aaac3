"""The revision of the database's schema: bringing it up to date, and refusing to run on another one."""

from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import asyncpg
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

from qrtrack.domain.errors import Unavailable
from qrtrack.models import Table
from qrtrack.repositories.base import DURABLE

# The limits of a provider are meant for requests. A migration may take longer, and wait for another one. Not every
# version of PostgreSQL has all of them.
NO_LIMITS = """
SELECT set_config(name, '0', true) FROM pg_settings
WHERE name IN ('statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout', 'lock_timeout')
"""


class SchemaBehind(Unavailable):
    """The database has another revision than the program."""

    slug = "schema-behind"
    title = "The database's schema does not fit the program"


def _config(connection: Connection | None = None) -> Config:
    installed = Path(__file__).parent / "migrations"
    config = Config()
    location = installed if installed.is_dir() else Path(__file__).parents[2] / "migrations"
    # Alembic's options are read with interpolation, in which a percent sign is written twice.
    config.set_main_option("script_location", str(location).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


async def migrate(engine: AsyncEngine) -> str:
    """Brings the database to the newest revision, in one transaction; which one that is. Safe to run twice at once."""
    async with engine.begin() as connection:
        await connection.execute(text(DURABLE))
        await connection.execute(text(NO_LIMITS))
        await connection.run_sync(lambda plain: command.upgrade(_config(plain), "head"))
        return str(await connection.run_sync(_current))


async def check_revision(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Raises SchemaBehind with the command that helps."""
    head, current = _newest(), None
    with suppress(asyncpg.UndefinedTableError):
        current = await connection.fetchval("SELECT version_num FROM alembic_version")
    if current != head:
        raise SchemaBehind(
            f"The database is at revision {current or 'none'}, the program needs {head}. Run: qrtrack migrate"
        )


@lru_cache
def _newest() -> str | None:
    return ScriptDirectory.from_config(_config()).get_current_head()


async def differences(engine: AsyncEngine) -> list[str]:
    """Where the models and the migrated database differ: nowhere, or a migration is missing."""

    def compare(connection: Connection) -> list[str]:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        return [str(difference) for difference in compare_metadata(context, Table.metadata)]

    async with engine.connect() as connection:
        return await connection.run_sync(compare)


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()
