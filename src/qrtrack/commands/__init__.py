"""What each command does, in one module for each command. cli.py imports only the module of the typed command.

This file: how every command starts, and how it ends with an error.
"""

from typing import NoReturn

import typer

from qrtrack.logs import set_up_logs
from qrtrack.settings import Settings, SettingsError
from qrtrack.settings.loading import load_settings


def start(*, quiet: bool = False, with_secrets: bool = True) -> Settings:
    """Loads the settings and sets up the logs. With `quiet` only warnings are logged, because the command itself writes
    to the terminal. Without `with_secrets` missing secrets are not created: a command in the wrong folder would create
    wrong ones.
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
