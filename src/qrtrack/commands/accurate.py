"""`qrtrack accurate`."""

from typing import Any
from zoneinfo import ZoneInfo

import typer

from qrtrack.commands import start
from qrtrack.commands.running import opened, run
from qrtrack.services.accurate.sources import connection_figures
from qrtrack.settings import Settings


def show_connection() -> None:
    found: dict[str, Any] = run(_accurate(start(quiet=True, with_secrets=False)))
    for source in found.pop("sources"):
        typer.echo(
            f"last event of database {source['database_id']}, {source['type']}: {source['silent_seconds']} s ago"
        )
    for unassigned in found.pop("unassigned"):
        database_id = unassigned["database_id"]
        whose = "without a database" if database_id is None else f"of database {database_id}, not in ACCURATE_DATABASES"
        typer.echo(f"unassigned, {whose}: {unassigned['events']}")
    for name, value in found.items():
        typer.echo(f"{name.replace('_', ' ')}: {'-' if value is None else value}")


async def _accurate(settings: Settings) -> dict[str, Any]:
    async with opened(settings) as database:
        return await connection_figures(database, zone=ZoneInfo(settings.accurate_timezone))
