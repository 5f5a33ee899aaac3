"""Runs work on the database at the terminal: prints which database it uses, shows progress, and ends with one line."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import typer
from rich.console import Console
from rich.progress import FileSizeColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from uvicorn.loops.auto import auto_loop_factory

from qrtrack import backups, listening
from qrtrack.chosen_database import name_of_database, open_database
from qrtrack.commands import give_up
from qrtrack.database import Database
from qrtrack.domain.errors import NotFound, Unavailable
from qrtrack.postgresql import embedded
from qrtrack.postgresql.outages import server_says
from qrtrack.postgresql.tools import Tell
from qrtrack.settings import Settings, SettingsError

Result = TypeVar("Result")

# Errors that a person at the terminal can fix: they see the message without a traceback.
MENDABLE = (SettingsError, backups.BackupFailed, embedded.EmbeddedFailed, Unavailable, NotFound, OSError)


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Runs the work on uvloop where it is installed."""
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


def run_on_database(
    settings: Settings, work: Callable[[Database], Awaitable[Result]], *, is_new: bool = False
) -> Result:
    """Runs the work on the database of the command, and prints its name on standard error: in another folder the
    command would use another database.
    """
    typer.echo(f"Database: {name_of_database(settings)}", err=True)

    async def on_database() -> Result:
        async with open_database(settings, must_exist=not is_new) as database:
            if not is_new:
                await database.ready()
            return await work(database)

    return run(on_database())


@contextmanager
def shown(what: str) -> Iterator[Tell]:
    """Shows the progress on a terminal. SIGTERM ends the work as Ctrl-C does, and leaves nothing half-done."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, signal.raise_signal, signal.SIGINT)
    console = Console(stderr=True)
    columns = SpinnerColumn(), TextColumn("{task.description}"), FileSizeColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what)
        yield lambda step, count: progress.update(task, description=step or what, completed=count)
