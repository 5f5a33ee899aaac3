"""The commands and their options. commands/ holds what each command does. It is imported only for the command that was
typed, so `--help` and `token` answer at once without loading the server or the database.
"""

from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Final
from uuid import UUID

import typer

from qrtrack.domain.akselgate.faults import Fault
from qrtrack.domain.identity import Role

MOST_SKIPPED: Final = 1_000_000_000

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
    """Run the API and a worker loop in one process."""
    from qrtrack.commands import servers

    servers.serve(host=host, port=port, with_worker=not no_worker)


@app.command()
def worker(
    host: Annotated[str, typer.Option(help="The address to answer on, with --port.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Answer /healthz, /readyz and /metrics on this port.")
    ] = None,
) -> None:
    """Run only the worker loop. Start as many workers as you want, on as many machines."""
    from qrtrack.commands import servers

    servers.work(host=host, port=port)


@app.command()
def migrate(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; fail if the database is not at the newest revision.")
    ] = False,
) -> None:
    """Bring the database to the newest schema."""
    from qrtrack.commands import migrations

    if check:
        migrations.check_revision()
    else:
        migrations.migrate()


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="The file to write, such as qrtrack.dump.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
) -> None:
    """Write the whole database into a file, as of one moment. The service keeps running meanwhile."""
    from qrtrack.commands import backups

    backups.backup(file, overwrite=overwrite)


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A file that `qrtrack backup` wrote.")],
    skip_request_ids: Annotated[
        int,
        typer.Option(
            min=0,
            max=MOST_SKIPPED,
            help="Skip N request ids. Choose N larger than the number of dispatches since the backup.",
        ),
    ] = 0,
    skip_serials: Annotated[
        int,
        typer.Option(
            min=0,
            max=MOST_SKIPPED,
            help="Skip N serial numbers of each prefix. Choose N larger than the number of codes ordered since the "
            "backup.",
        ),
    ] = 0,
) -> None:
    """Put a backup into an empty database: all of it, or nothing. Stop every other process first."""
    from qrtrack.commands import backups

    backups.restore(file, skip_request_ids=skip_request_ids, skip_serials=skip_serials)


@app.command()
def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Delete nothing, say what would be deleted.")] = False,
) -> None:
    """Delete what is older than RETENTION_DAYS and no longer needed. Workers do this every day by themselves."""
    from qrtrack.commands import retention

    retention.prune(dry_run=dry_run)


@app.command()
def token(
    *,
    org: Annotated[UUID, typer.Option(help="The organisation to act for.")],
    user: Annotated[UUID | None, typer.Option(help="The user; an invented one if left out.")] = None,
    role: Annotated[list[Role] | None, typer.Option(help="May be given several times; operator if left out.")] = None,
    hours: Annotated[float, typer.Option(min=0.01, max=24 * 366, help="How many hours the token is valid.")] = 12,
    link: Annotated[
        bool, typer.Option("--link", help="Print a link that signs into the console: once, within 10 minutes.")
    ] = False,
    base_url: Annotated[
        str | None, typer.Option(help="Where browsers reach the server, with --link; PUBLIC_BASE_URL if left out.")
    ] = None,
) -> None:
    """Print a token signed with JWT_SECRET. Standard error shows where that secret was read from, never the secret."""
    if link:
        from qrtrack.commands import sessions

        sessions.print_link(organisation_id=org, user=user, roles=role or [Role.OPERATOR], base_url=base_url)
        return
    from qrtrack.commands import tokens

    tokens.print_token(organisation_id=org, user=user, roles=role or [Role.OPERATOR], hours=hours)


sessions_app = typer.Typer(no_args_is_help=True, help="Who is signed into the console.")
app.add_typer(sessions_app, name="sessions")


@sessions_app.callback()
def sessions() -> None:
    """Who is signed into the console."""


@sessions_app.command()
def revoke(
    org: Annotated[UUID, typer.Option(help="The organisation.")],
    user: Annotated[str | None, typer.Option(help="One user; all of the organisation if left out.")] = None,
) -> None:
    """Sign people out of the console, and void their unused sign-in links."""
    from qrtrack.commands import sessions

    sessions.revoke(organisation_id=org, user=user)


@app.command()
def sandbox(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 9100,
    fault: Annotated[
        Fault, typer.Option(help="The fault to simulate with every batch. `refuse` works through /sandbox/fault only.")
    ] = Fault.NONE,
    callback_seconds: Annotated[
        float, typer.Option(min=0, help="How many seconds the sandbox waits before it calls back.")
    ] = 1.0,
) -> None:
    """Run a stand-in for the bank gateway: it prints what it receives, calls back, and simulates faults on demand."""
    from qrtrack.commands import sandboxes

    sandboxes.play(host=host, port=port, fault=fault, callback_seconds=callback_seconds)


@app.command()
def recalculate_progress(
    batch_id: Annotated[UUID | None, typer.Option(help="One batch, reverse job or progress batch.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Everything that is in progress, also what has just changed.")
    ] = False,
) -> None:
    """Count the rows of work in progress again if it has not changed for five minutes, and repair wrong counters."""
    if batch_id is not None and everything:
        raise typer.BadParameter("Give --batch-id or --all, not both.")
    from qrtrack.commands import recalculation

    recalculation.recalculate(batch_id, everything=everything)


@app.command()
def accurate() -> None:
    """Show the state of Accurate's webhooks: when each source last sent, and what is waiting, dead or unassigned."""
    from qrtrack.commands import accurate as command

    command.show_connection()


@app.command()
def gs1_owner(
    gtin: Annotated[str | None, typer.Option(help="A GTIN, with its check digit.")] = None,
    prefix: Annotated[str | None, typer.Option(help="A GS1 company prefix.")] = None,
    to: Annotated[UUID | None, typer.Option(help="The organisation that it is moved to.")] = None,
) -> None:
    """Show which organisation a GTIN or a company prefix belongs to, or move it to another one."""
    if (gtin is None) == (prefix is None):
        raise typer.BadParameter("Give either --gtin or --prefix.")
    from qrtrack.commands import gtin_owners

    gtin_owners.show_or_move(gtin=gtin, prefix=prefix, to=to)


@app.command()
def demo() -> None:
    """Show the main job on real input, on the embedded PostgreSQL, and check every number."""
    from qrtrack.commands import demonstration

    demonstration.show()


if __name__ == "__main__":
    app()
