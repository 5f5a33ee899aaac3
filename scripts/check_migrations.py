"""Fails if the models differ from what the migrations create in a new, empty database."""

import asyncio
import sys
import tempfile
from pathlib import Path

from qrtrack.database import Database
from qrtrack.postgresql import embedded, schema_revision


async def differences(url: str) -> list[str]:
    database = Database.connect(url, pool_size=2)
    try:
        await database.migrate()
        return await schema_revision.differences(database.engine)
    finally:
        await database.close()


def main() -> str | None:
    """Returns the differences and what to do, or None if models and migrations agree."""
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
