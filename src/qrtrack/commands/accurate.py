"""`qrtrack accurate`."""

from zoneinfo import ZoneInfo

import typer

from qrtrack.commands import start
from qrtrack.commands.running import run_on_database
from qrtrack.services.accurate.sources import read_accurate_health


def show_connection() -> None:
    settings = start(quiet=True, with_secrets=False)
    zone = ZoneInfo(settings.accurate_timezone)
    found = run_on_database(settings, lambda database: read_accurate_health(database, zone=zone))
    for database_id, kind, seconds in found.sources:
        typer.echo(f"last event of database {database_id}, {kind}: {seconds} s ago")
    for owner, events in found.unassigned:
        whose = "without a database" if owner is None else f"of database {owner}, not in ACCURATE_DATABASES"
        typer.echo(f"unassigned, {whose}: {events}")
    for name, value in list(found._asdict().items())[2:]:
        typer.echo(f"{name.replace('_', ' ')}: {'-' if value is None else value}")
