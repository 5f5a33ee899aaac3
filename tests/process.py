"""A process of the service as tests start one: its settings, a port for it, and a clean table afterwards."""

import socket
from pathlib import Path
from typing import Any

from qrtrack.database import Database
from qrtrack.models import Table
from qrtrack.settings import Settings

SECRET = "d1f0a4b79c3e48f2b6a5908e7c1d2f3a-tests"


def settings_of(database_url: str, data_dir: Path, **changes: Any) -> Settings:
    """Settings that no environment and no file has a say in; bcrypt is cheap and polls are quick."""
    values: dict[str, Any] = {
        "qrtrack_data_dir": data_dir,
        "database_url": database_url,
        "jwt_secret": SECRET,
        "secret_key": SECRET,
        "cron_secret": SECRET,
        "bcrypt_cost": 4,
        "hash_threads": 2,
        "lease_seconds": 30,
        "poll_seconds": 0.05,
    }
    return Settings(_env_file=None, **values | changes)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


async def delete_rows(database: Database) -> None:
    """Deleted, not rolled back: a test's commits are real. Trace events give way only with triggers switched off."""
    deletions = "; ".join(f"DELETE FROM {table.name}" for table in reversed(Table.metadata.sorted_tables))
    async with database.engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        # Several statements in one message are one transaction.
        await driver.execute(f"SET LOCAL session_replication_role = replica; {deletions}")
