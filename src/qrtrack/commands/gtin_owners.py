"""`qrtrack gs1-owner`."""

from uuid import UUID

import typer

from qrtrack.commands import give_up, start
from qrtrack.commands.running import run_on_database
from qrtrack.database import Database
from qrtrack.domain.errors import InvalidInput, InvalidState
from qrtrack.services.packing.gtin_owners import MovedGtin, find_owner, move_to


def show_or_move(*, gtin: str | None, prefix: str | None, to: UUID | None) -> None:
    found = run_on_database(
        start(quiet=True, with_secrets=False),
        lambda database: _show_or_move(database, gtin=gtin, prefix=prefix, to=to),
    )
    if to is None or found.owner == to:
        typer.echo(
            f"{found.name} belongs to organisation {found.owner}; {found.batches} of its batches have such a GTIN."
        )
        return
    typer.echo(f"{found.name} moved from organisation {found.owner} to {to}.")
    if found.batches:
        typer.echo(f"{found.batches} batches of {found.owner} keep such a GTIN. Their printed labels do not change.")


async def _show_or_move(database: Database, *, gtin: str | None, prefix: str | None, to: UUID | None) -> MovedGtin:
    try:
        if to is None:
            return await find_owner(database, gtin=gtin, prefix=prefix)
        return await move_to(database, gtin=gtin, prefix=prefix, to=to)
    except (InvalidInput, InvalidState) as error:
        give_up(error)
