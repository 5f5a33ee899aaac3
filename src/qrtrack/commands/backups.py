"""`qrtrack backup` and `qrtrack restore`."""

from pathlib import Path

import typer
from rich.filesize import decimal

from qrtrack import backups
from qrtrack.chosen_database import name_of_database, open_database
from qrtrack.commands import give_up, start
from qrtrack.commands.running import run, shown
from qrtrack.postgresql import schema_revision
from qrtrack.settings import Settings, SettingsError


def backup(file: Path, *, overwrite: bool) -> None:
    settings = _start_copying()
    revision = run(_backup(settings, file, overwrite=overwrite))
    typer.echo(
        f"{file}: {decimal(file.stat().st_size)}, at revision {revision}. SECRET_KEY is not in it: keep it apart."
    )


async def _backup(settings: Settings, file: Path, *, overwrite: bool) -> str:
    async with open_database(settings, must_exist=True) as database:
        with shown("backing up") as tell:
            return await backups.back_up(database, file, overwrite=overwrite, tell=tell)


def restore(file: Path, *, skip_request_ids: int, skip_serials: int) -> None:
    settings = _start_copying()
    if not file.exists():
        give_up(backups.BackupFailed(f"There is no file {file}."))
    run(_restore(settings, file, skip_request_ids=skip_request_ids, skip_serials=skip_serials))


async def _restore(settings: Settings, file: Path, **skipped: int) -> None:
    # The file is read before a database is created, because it may not be a backup.
    revision, role = await backups.read(file)
    async with open_database(settings) as database:
        with shown("restoring") as tell:
            try:
                await backups.restore(database, file, role=role, **skipped, tell=tell)
            except backups.NotEmpty as error:
                give_up(backups.NotEmpty(f"{error} {_advice_for_an_empty_database(settings)}"))
    passed_over = "Skipped: {skip_request_ids:,} request ids, {skip_serials:,} serial numbers of each prefix."
    typer.echo(f"Restored, at revision {revision}. {passed_over.format(**skipped)}")
    if not schema_revision.is_newest(revision):
        typer.echo("The backup's schema is older than the program: run qrtrack migrate.")
    if not all(skipped.values()):
        typer.echo(
            "If anything was dispatched or ordered after the backup, read docs/backup.md before you start the service."
        )


def _advice_for_an_empty_database(settings: Settings) -> str:
    if settings.database_url is not None:
        return "Make one (CREATE DATABASE … OWNER …), name it in DATABASE_URL, and run this again."
    folder = settings.qrtrack_data_dir.absolute() / "postgresql"
    return f"Stop every process, move {folder} to another place, and run this again."


def _start_copying() -> Settings:
    """Ends the command behind a pooler: pg_dump changes settings of its session, which the pooler would pass on to
    other clients.
    """
    settings = start(quiet=True, with_secrets=False)
    if settings.database_pooler == "transaction":
        give_up(
            SettingsError(
                "A backup cannot go through PgBouncer, nor can a restore. Set DATABASE_URL to the server itself, and "
                "DATABASE_POOLER=none."
            )
        )
    typer.echo(f"Database: {name_of_database(settings)}", err=True)
    return settings
