"""`qrtrack migrate`."""

import typer

from qrtrack.commands import start
from qrtrack.commands.running import opened, run
from qrtrack.settings import Settings


def migrate() -> None:
    typer.echo(f"The database is at revision {run(_migrate(start()))}.")


async def _migrate(settings: Settings) -> str:
    async with opened(settings, is_new=True) as database:
        return await database.migrate()


def check_revision() -> None:
    run(_check_revision(start()))
    typer.echo("The database is at the newest revision.")


async def _check_revision(settings: Settings) -> None:
    async with opened(settings):
        pass
