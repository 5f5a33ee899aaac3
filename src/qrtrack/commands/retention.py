"""`qrtrack prune`."""

import typer
from rich.console import Console
from rich.progress import Progress

from qrtrack.commands import start
from qrtrack.commands.running import opened, run
from qrtrack.services import retention
from qrtrack.settings import Settings


def prune(*, dry_run: bool) -> None:
    settings = start(quiet=True, with_secrets=False)
    for what, count in run(_prune(settings, dry_run=dry_run)).items():
        typer.echo(f"{what}: {count} {'would be ' if dry_run else ''}deleted")


async def _prune(settings: Settings, *, dry_run: bool) -> dict[str, int]:
    async with opened(settings) as database:
        days = settings.retention_days
        found = await retention.preview_prune(database, days=days)
        if dry_run:
            return found
        with Progress(console=Console(stderr=True)) as progress:
            bars = {what: progress.add_task(what, total=count) for what, count in found.items()}
            return await retention.prune(
                database, days=days, advance=lambda what, count: progress.advance(bars[what], count)
            )
