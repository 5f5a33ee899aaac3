"""`qrtrack sandbox`."""

from contextlib import suppress

import typer

from qrtrack import sandbox
from qrtrack.commands.running import run
from qrtrack.domain.akselgate.faults import Fault


def play(*, host: str, port: int, fault: Fault, callback_seconds: float) -> None:
    with suppress(KeyboardInterrupt):
        run(sandbox.run(host=host, port=port, fault=fault, callback_seconds=callback_seconds, say=typer.echo))
