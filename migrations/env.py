"""How Alembic meets the database: on the connection that the program gives, or on DATABASE_URL (`alembic revision`)."""

import asyncio
import os

from alembic import context
from sqlalchemy import Connection

from qrtrack.database import Database
from qrtrack.models import Table
from qrtrack.postgresql.tenant_role import quoted
from qrtrack.settings.values import DEFAULT_TENANT_ROLE


def run_on(connection: Connection) -> None:
    """Runs the migrations. They read the role of requests, already quoted, from the option `tenant_role`."""
    context.configure(
        connection=connection,
        target_metadata=Table.metadata,
        compare_server_default=True,
        tenant_role=context.config.attributes.get("tenant_role", quoted(DEFAULT_TENANT_ROLE)),
    )
    with context.begin_transaction():
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
