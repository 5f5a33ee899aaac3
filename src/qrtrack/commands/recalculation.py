"""`qrtrack recalculate-progress`."""

from uuid import UUID

import typer

from qrtrack.commands import start
from qrtrack.commands.running import run_on_database
from qrtrack.database import Database
from qrtrack.services import recalculation


def recalculate(batch_id: UUID | None, *, everything: bool) -> None:
    found = run_on_database(
        start(quiet=True, with_secrets=False),
        lambda database: _recalculate(database, batch_id, everything=everything),
    )
    typer.echo(f"{found.checked} recounted, {found.repaired} repaired, {found.failed} could not be recounted.")
    raise typer.Exit(1 if found.failed else 0)


async def _recalculate(database: Database, batch_id: UUID | None, *, everything: bool) -> recalculation.Recalculation:
    if batch_id is None:
        silent_seconds = 0 if everything else recalculation.SILENT_SECONDS
        return await recalculation.recalculate_progress(database, silent_seconds=silent_seconds, tell=_tell_recount)
    found = await recalculation.recalculate_one(database, batch_id)
    for recount in found.recounts:
        _tell_recount(recount)
    return found


def _tell_recount(recount: recalculation.Recount) -> None:
    before, after = (
        ", ".join(f"{name} {value}" for name, value in counters.items()) for counters in (recount.before, recount.after)
    )
    typer.echo(f"{recount.kind} {recount.id} {'repaired' if recount.is_repair else 'right'}")
    typer.echo(f"  before: {before}")
    typer.echo(f"  after:  {after}")
