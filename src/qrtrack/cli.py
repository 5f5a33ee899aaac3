"""The commands, each a few lines around a service."""

import sys
from contextlib import suppress
from importlib.metadata import version
from typing import Annotated, Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.progress import Progress

from qrtrack import backup_commands, serving
from qrtrack import demo as demonstration
from qrtrack import sandbox as stand_in
from qrtrack.domain.identity import Role
from qrtrack.integrations.tokens import sign_token
from qrtrack.services import recalculation, retention
from qrtrack.services.accurate.sources import connection_figures
from qrtrack.settings import Settings, SettingsError, origin_of_jwt_secret
from qrtrack.terminal import give_up, opened, run, start

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"qrtrack {version('qrtrack')}")
        raise typer.Exit


@app.callback()
def main(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """The service a packing line runs on."""


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8000,
    no_worker: Annotated[bool, typer.Option("--no-worker", help="API only.")] = False,
) -> None:
    """API and in-process worker loop."""
    settings = start()
    run(serving.serve(settings, host=host, port=port, with_worker=not no_worker))


@app.command()
def worker(
    host: Annotated[str, typer.Option(help="The address to answer on, with --port.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Answer /healthz, /readyz and /metrics there.")
    ] = None,
) -> None:
    """The worker loop alone: start as many as wanted, on as many machines."""
    settings = start()
    if port is None:
        run(serving.work(settings))
    else:
        run(serving.serve(settings, host=host, port=port, with_worker=True, with_api=False))


@app.command()
def migrate(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; fail where the database is not at the newest revision.")
    ] = False,
) -> None:
    """Bring the database to the newest schema."""
    settings = start()
    if check:
        run(_check_revision(settings))
        typer.echo("The database is at the newest revision.")
        return
    typer.echo(f"The database is at revision {run(_migrate(settings))}.")


async def _migrate(settings: Settings) -> str:
    async with opened(settings, is_new=True) as database:
        return await database.migrate()


async def _check_revision(settings: Settings) -> None:
    async with opened(settings):
        pass


app.command()(backup_commands.backup)
app.command()(backup_commands.restore)


@app.command()
def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Delete nothing, say what would be deleted.")] = False,
) -> None:
    """Delete what is older than RETENTION_DAYS and needed by nobody. Workers do it every day by themselves."""
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


@app.command()
def token(
    org: Annotated[UUID, typer.Option(help="The organisation to act for.")],
    user: Annotated[UUID | None, typer.Option(help="The user; an invented one if left out.")] = None,
    role: Annotated[list[Role] | None, typer.Option(help="May be given several times; operator if left out.")] = None,
    hours: Annotated[float, typer.Option(min=0.01, max=24 * 366, help="How long it is good for.")] = 12,
) -> None:
    """Print a token, signed with JWT_SECRET. Standard error says which secret that is."""
    settings = start()
    if settings.jwt_secret is None:
        give_up(SettingsError("JWT_SECRET is not set: tokens come from the identity system of JWT_JWKS_URL."))
    if user is None:
        user = uuid4()
        typer.echo(f"No --user is given: the token is for an invented user, {user}.", err=True)
    typer.echo(
        f"Signed with {origin_of_jwt_secret(settings)}. A server with another JWT_SECRET refuses the token.", err=True
    )
    typer.echo(
        sign_token(
            settings.jwt_secret.get_secret_value(),
            organisation_id=org,
            user_id=str(user),
            roles=role or [Role.OPERATOR],
            hours=hours,
            audience=settings.jwt_audience,
            issuer=settings.jwt_issuer,
        )
    )


@app.command()
def sandbox(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 9100,
    fault: Annotated[stand_in.Fault, typer.Option(help="How it misbehaves with every batch.")] = stand_in.Fault.NONE,
    callback_seconds: Annotated[float, typer.Option(min=0, help="How long it takes to call back.")] = 1.0,
) -> None:
    """A bank gateway for trying things: it prints what it gets, calls back, and misbehaves on demand."""
    with suppress(KeyboardInterrupt):
        run(stand_in.run(host=host, port=port, fault=fault, callback_seconds=callback_seconds, say=typer.echo))


@app.command()
def recalculate_progress(
    batch_id: Annotated[UUID | None, typer.Option(help="One batch, reverse job or progress batch.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that is in progress, silent or not.")] = False,
) -> None:
    """Count again from the truth what has been silent for five minutes, and repair what was wrong."""
    if batch_id is not None and everything:
        raise typer.BadParameter("--batch-id and --all exclude each other.")
    found: recalculation.Recalculation = run(
        _recalculate(start(quiet=True, with_secrets=False), batch_id, everything=everything)
    )
    typer.echo(f"{found.checked} recounted, {found.repaired} repaired, {found.failed} could not be recounted.")
    raise typer.Exit(1 if found.failed else 0)


async def _recalculate(settings: Settings, batch_id: UUID | None, *, everything: bool) -> recalculation.Recalculation:
    async with opened(settings) as database:
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


@app.command()
def accurate() -> None:
    """How Accurate's webhooks fare: who has gone silent, what waits, what belongs to nobody."""
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


@app.command()
def demo() -> None:
    """The main job on real input, on the embedded PostgreSQL, with its own checks."""
    settings = start(quiet=True)
    typer.echo(f"Data folder: {settings.qrtrack_data_dir.absolute()}", err=True)
    sys.exit(run(demonstration.run(settings)))


if __name__ == "__main__":
    app()
