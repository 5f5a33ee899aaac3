"""`qrtrack migrate`."""

import typer

from qrtrack.commands import start
from qrtrack.commands.running import run_on_database
from qrtrack.database import Database


def migrate() -> None:
    revision = run_on_database(start(), Database.migrate, is_new=True)
    typer.echo(f"The database is at revision {revision}.")


def check_revision() -> None:
    run_on_database(start(), Database.ready)
    typer.echo("The database is at the newest revision.")
