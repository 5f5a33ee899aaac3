"""What every command does at the terminal: how it starts, names its database, shows long work, and ends."""

import asyncio
import signal
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.progress import FileSizeColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from uvicorn.loops.auto import auto_loop_factory

from qrtrack import backups, embedded, listening
from qrtrack.database import Database
from qrtrack.domain.errors import NotFound, Unavailable
from qrtrack.logs import set_up_logs
from qrtrack.outages import server_says
from qrtrack.postgres_tools import Tell
from qrtrack.runtime import name_of_database, open_database
from qrtrack.settings import Settings, SettingsError, load_settings

# What a person at the terminal can mend: they get the sentence, without a traceback.
MENDABLE = (SettingsError, backups.BackupFailed, embedded.EmbeddedFailed, Unavailable, NotFound, OSError)


def start(*, quiet: bool = False, with_secrets: bool = True) -> Settings:
    """The settings, with logs set up; `quiet` where the terminal belongs to what the command shows. A command that
    needs no secrets makes none: in the wrong folder they would be others.
    """
    try:
        settings = load_settings(with_secrets=with_secrets)
    except SettingsError as error:
        give_up(error)
    set_up_logs(environment=settings.qrtrack_env, level="warning" if quiet else settings.log_level)
    return settings


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """On uvloop where there is one: the fastest loop that uvicorn knows."""
    try:
        with asyncio.Runner(loop_factory=auto_loop_factory()) as runner:
            return runner.run(work)
    except listening.PortUnusable as error:
        give_up(error, code=2)
    except MENDABLE as error:
        give_up(error)
    except Exception as error:
        if reason := server_says(error):
            give_up(error, said=f"The database refused a statement: {reason}.")
        raise


def give_up(error: BaseException, said: str | None = None, *, code: int = 1) -> NoReturn:
    reason = getattr(error, "reason", "")
    typer.echo(f"qrtrack: {said or error}{reason and f' It says: {reason}.'}", err=True)
    raise typer.Exit(code) from error


@asynccontextmanager
async def opened(settings: Settings, *, is_new: bool = False) -> AsyncIterator[Database]:
    """The database of the command, named on standard error: in another folder it is another database."""
    typer.echo(f"Database: {name_of_database(settings)}", err=True)
    async with open_database(settings, must_exist=not is_new) as database:
        if not is_new:
            await database.ready()
        yield database


@contextmanager
def shown(what: str) -> Iterator[Tell]:
    """A line that moves, where somebody watches. SIGTERM ends the work as Ctrl-C does: nothing half-done stays."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, signal.raise_signal, signal.SIGINT)
    console = Console(stderr=True)
    columns = SpinnerColumn(), TextColumn("{task.description}"), FileSizeColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what)
        yield lambda step, count: progress.update(task, description=step or what, completed=count)
