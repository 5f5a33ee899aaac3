"""`qrtrack demo`."""

import sys

import typer

from qrtrack import demo
from qrtrack.commands import start
from qrtrack.commands.running import run


def show() -> None:
    settings = start(quiet=True)
    typer.echo(f"Data folder: {settings.qrtrack_data_dir.absolute()}", err=True)
    sys.exit(run(demo.run(settings)))
