"""`qrtrack serve` and `qrtrack worker`."""

from qrtrack import serving
from qrtrack.commands import start
from qrtrack.commands.running import run


def serve(*, host: str, port: int, with_worker: bool) -> None:
    run(serving.serve(start(), host=host, port=port, with_worker=with_worker))


def work(*, host: str, port: int | None) -> None:
    """Runs the worker loop. With a port it also answers /healthz, /readyz and /metrics."""
    settings = start()
    if port is None:
        run(serving.work(settings))
    else:
        run(serving.serve(settings, host=host, port=port, with_worker=True, with_api=False))
