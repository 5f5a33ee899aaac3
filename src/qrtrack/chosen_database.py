"""Opens the database that the settings choose: the one of DATABASE_URL, or the embedded one, which is kept running."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import structlog

from qrtrack.database import Database
from qrtrack.postgresql import embedded
from qrtrack.settings import Settings
from qrtrack.settings.postgresql import parse_address

EMBEDDED_LOOK_SECONDS: Final = 5.0

log = structlog.get_logger()


@asynccontextmanager
async def open_database(settings: Settings, *, must_exist: bool = False) -> AsyncIterator[Database]:
    """Opens the database of DATABASE_URL, or the embedded one, which runs as long as a process uses it.

    With `must_exist` it raises EmbeddedFailed instead of creating an embedded database.
    """
    async with address_of_database(settings, must_exist=must_exist) as url:
        database = Database.connect(
            url,
            pool_size=settings.database_pool_size,
            behind_pooler=settings.database_pooler == "transaction",
            tenant_role=settings.database_tenant_role,
        )
        try:
            yield database
        finally:
            await database.close()


@asynccontextmanager
async def address_of_database(settings: Settings, *, must_exist: bool = False) -> AsyncIterator[str]:
    """Yields the address for the driver. The embedded server runs at least until the end of the block."""
    if settings.database_url is not None:
        yield settings.database_url
        return
    if must_exist and not (settings.qrtrack_data_dir / "postgresql/data").is_dir():
        raise embedded.EmbeddedFailed(
            f"There is no database in {settings.qrtrack_data_dir.absolute()}. Run the command in the folder of the"
            " installation, or set QRTRACK_DATA_DIR or DATABASE_URL as the service has it."
        )
    server = await asyncio.to_thread(embedded.start, settings.qrtrack_data_dir)
    ending = asyncio.Event()
    keeper = asyncio.create_task(_keep_running(server, ending))
    try:
        yield await asyncio.to_thread(server.url)
    finally:
        ending.set()
        # The keeper must end before the server stops: it would start the server again.
        await keeper
        await asyncio.to_thread(server.close)


async def _keep_running(server: embedded.EmbeddedPostgres, ending: asyncio.Event) -> None:
    """Starts the embedded server again if it was killed, for instance by the system's out-of-memory killer."""
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(EMBEDDED_LOOK_SECONDS):
                await ending.wait()
                return
        try:
            await asyncio.to_thread(server.ensure_running)
        except embedded.EmbeddedFailed:
            log.exception("the embedded PostgreSQL cannot be started again")


def name_of_database(settings: Settings) -> str:
    """Returns the name of the database to show to a person, without the password."""
    if settings.database_url is None:
        return f"the embedded PostgreSQL in {settings.qrtrack_data_dir.absolute()}"
    address = parse_address(settings.database_url)
    return f"{address.database} on {address.where} (DATABASE_URL)"
