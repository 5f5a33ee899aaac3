"""What runs here: the versions of the program, of the database server and of the schema."""

from dataclasses import dataclass
from importlib.metadata import version

from qrtrack.database import Database


@dataclass(frozen=True, slots=True)
class Versions:
    program: str
    server: str
    revision: str


async def read_versions(database: Database) -> Versions:
    async with database.autocommit() as repositories:
        found = await repositories.server.versions()
    return Versions(version("qrtrack"), found.server, found.revision)
