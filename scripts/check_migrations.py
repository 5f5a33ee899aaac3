"""Fails where models and migrations differ, on a database of its own that the migrations alone have made."""

import asyncio
import sys
import tempfile
from pathlib import Path

from qrtrack import embedded, schema_revision
from qrtrack.database import Database


async def differences(url: str) -> list[str]:
    database = Database.connect(url, pool_size=2)
    try:
        await database.migrate()
        return await schema_revision.differences(database.engine)
    finally:
        await database.close()


def main() -> str | None:
    """What to do, or None where they agree."""
    with (
        tempfile.TemporaryDirectory(prefix="qrtrack-") as folder,
        embedded.start(Path(folder), durable=False) as server,
    ):
        found = asyncio.run(differences(server.url()))
    if not found:
        print("Models and migrations agree.")
        return None
    return "\n".join([*found, "Models and migrations differ: write a migration."])


if __name__ == "__main__":
    sys.exit(main())
