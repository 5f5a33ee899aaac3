"""`qrtrack prune`."""

import typer
from rich.console import Console
from rich.progress import Progress

from qrtrack.commands import start
from qrtrack.commands.running import run_on_database
from qrtrack.database import Database
from qrtrack.services import retention


def prune(*, dry_run: bool) -> None:
    settings = start(quiet=True, with_secrets=False)
    found = run_on_database(settings, lambda database: _prune(database, days=settings.retention_days, dry_run=dry_run))
    for what, count in found.items():
        typer.echo(f"{what}: {count} {'would be ' if dry_run else ''}deleted")


async def _prune(database: Database, *, days: int, dry_run: bool) -> dict[str, int]:
    found = await retention.preview_prune(database, days=days)
    if dry_run:
        return found
    with Progress(console=Console(stderr=True)) as progress:
        bars = {what: progress.add_task(what, total=count) for what, count in found.items()}
        return await retention.prune(
            database, days=days, advance=lambda what, count: progress.advance(bars[what], count)
        )
