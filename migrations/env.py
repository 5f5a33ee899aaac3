"""How Alembic meets the database: on the connection that the program gives, or on DATABASE_URL (`alembic revision`)."""

import asyncio
import os

from alembic import context
from sqlalchemy import Connection, text

from qrtrack.database import Database
from qrtrack.models import Table


def run_on(connection: Connection) -> None:
    """Two processes that migrate at once take turns. A migration that waits for a table's lock would hold up every
    request behind it, so it gives up after five seconds.
    """
    context.configure(connection=connection, target_metadata=Table.metadata, compare_server_default=True)
    with context.begin_transaction():
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('qrtrack migrations', 0))"))
        connection.execute(text("SELECT set_config('lock_timeout', '5s', true)"))
        context.run_migrations()


async def run_on_url(url: str) -> None:
    database = Database.connect(url, pool_size=1)
    async with database.engine.begin() as connection:
        await connection.run_sync(run_on)
    await database.close()


given = context.config.attributes.get("connection")
if given is not None:
    run_on(given)
else:
    asyncio.run(run_on_url(os.environ["DATABASE_URL"]))
