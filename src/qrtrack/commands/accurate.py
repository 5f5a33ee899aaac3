"""`qrtrack accurate`."""

from zoneinfo import ZoneInfo

import typer

from qrtrack.commands import start
from qrtrack.commands.running import opened, run
from qrtrack.services.accurate.sources import ConnectionFigures, connection_figures
from qrtrack.settings import Settings


def show_connection() -> None:
    found: ConnectionFigures = run(_accurate(start(quiet=True, with_secrets=False)))
    for database_id, kind, seconds in found.sources:
        typer.echo(f"last event of database {database_id}, {kind}: {seconds} s ago")
    for owner, events in found.unassigned:
        whose = "without a database" if owner is None else f"of database {owner}, not in ACCURATE_DATABASES"
        typer.echo(f"unassigned, {whose}: {events}")
    for name, value in list(found._asdict().items())[2:]:
        typer.echo(f"{name.replace('_', ' ')}: {'-' if value is None else value}")


async def _accurate(settings: Settings) -> ConnectionFigures:
    async with opened(settings) as database:
        return await connection_figures(database, zone=ZoneInfo(settings.accurate_timezone))
