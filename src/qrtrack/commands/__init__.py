"""What each command does, one module a command: cli.py imports only the one that was typed.

Here: how every command starts, and how it gives up.
"""

from typing import NoReturn

import typer

from qrtrack.logs import set_up_logs
from qrtrack.settings import Settings, SettingsError, load_settings


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


def give_up(error: BaseException, said: str | None = None, *, code: int = 1) -> NoReturn:
    reason = getattr(error, "reason", "")
    typer.echo(f"qrtrack: {said or error}{reason and f' It says: {reason}.'}", err=True)
    raise typer.Exit(code) from error
