"""Runs a process with the API, the worker loop, or both, from its start to its graceful shutdown."""

import asyncio
import gc
import math
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import Final, cast

import structlog
import uvicorn

from qrtrack import listening
from qrtrack.http_limits import ConnectionLimits, LimitedProtocol
from qrtrack.main import create_app
from qrtrack.runtime import Runtime, open_runtime
from qrtrack.settings import Settings
from qrtrack.worker.loop import Worker

# How long a thread keeps the interpreter while another one waits for it. With Python's 5 ms, each step of a request
# waits 5 ms for a thread that parses a long list, and a request has ten steps.
SWITCH_SECONDS: Final = 0.0005

log = structlog.get_logger()


class Server(uvicorn.Server):
    """uvicorn without its signal handlers: they would end the process before running work is released."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(settings: Settings, *, host: str, port: int, with_worker: bool, with_api: bool = True) -> None:
    """Runs API and worker loop, or one of them, until SIGTERM or SIGINT. A second signal cuts requests off. Without the
    API, the process answers only monitoring: health and metrics.

    Raises PortUnusable: before it connects to the database if the port is in use, and later if another process that
    has bound the same port begins to listen first.
    """
    with listening.bound(host, port) as sockets:
        async with opened(settings) as runtime:
            if runtime is not None:
                await _serve(runtime, host=host, sockets=sockets, with_worker=with_worker, with_api=with_api)


async def _serve(
    runtime: Runtime, *, host: str, sockets: list[socket.socket], with_worker: bool, with_api: bool
) -> None:
    worker = Worker(runtime) if with_worker else None
    server = server_of(runtime, with_api=with_api)
    address = listening.address_of(host, sockets)
    _keep_what_is_there()
    sys.setswitchinterval(SWITCH_SECONDS)

    def stop() -> None:
        server.force_exit = server.should_exit
        # A running dispatch is not cut off, and its caller must get the answer.
        server.config.timeout_graceful_shutdown = _grace(runtime)
        server.should_exit = True
        runtime.stopping.set()
        if worker is not None:
            worker.stop_claiming()

    with _on_signals(stop):
        listening.listen(sockets)
        async with running(worker):
            log.info("serving", address=address, api=f"{address}/docs" if with_api else None)
            await server.serve(sockets)


def _keep_what_is_there() -> None:
    """Excludes the objects that exist now from garbage collection. They live until the end of the process, and
    collecting through all of them would stop every request for a tenth of a second.
    """
    gc.collect()
    gc.freeze()


async def work(settings: Settings) -> None:
    """Runs only the worker loop, until SIGTERM or SIGINT."""
    async with opened(settings) as runtime:
        if runtime is None:
            return
        worker = Worker(runtime)
        with _on_signals(worker.stop_claiming):
            log.info("working")
            await worker.run()
            await worker.stop()
    log.info("stopped")


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Runtime | None]:
    """Yields the runtime, or None when a signal ends the process while it waits for its database.

    Until the block installs its own signal handlers, a signal ends the block. Without this handler, SIGTERM would have
    no effect on the first process of a container.
    """
    task, is_told = asyncio.current_task(), False
    assert task is not None

    def end() -> None:
        nonlocal is_told
        is_told = True
        task.cancel()

    @contextmanager
    def until_told() -> Iterator[None]:
        try:
            yield
        except asyncio.CancelledError:
            if not is_told:
                raise
            task.uncancel()
            log.info("stopped before it began")

    async with AsyncExitStack() as open_things:
        open_things.enter_context(_on_signals(end))
        runtime: Runtime | None = None
        with until_told():
            runtime = await open_things.enter_async_context(open_runtime(settings))
        with until_told():
            yield runtime


def _grace(runtime: Runtime) -> int:
    """Returns how many seconds running requests may still take."""
    return max(1, math.ceil(max(runtime.settings.shutdown_grace_seconds, runtime.shielded_tasks.remaining_seconds)))


def server_of(runtime: Runtime, *, with_api: bool = True) -> Server:
    """Returns a server for sockets that are already bound: `serve(sockets=…)`."""

    @asynccontextmanager
    async def given(_settings: Settings) -> AsyncIterator[Runtime]:
        yield runtime

    config = uvicorn.Config(
        create_app(runtime.settings, given, with_api=with_api),
        log_config=None,
        access_log=False,
        server_header=False,
        # uvicorn must not replace the peer's address: only TRUSTED_PROXIES decides which proxies to trust.
        proxy_headers=False,
        http=cast("type[asyncio.Protocol]", partial(LimitedProtocol, ConnectionLimits.of(runtime.settings))),
        timeout_graceful_shutdown=_grace(runtime),
    )
    return Server(config)


@asynccontextmanager
async def running(worker: Worker | None) -> AsyncIterator[None]:
    """Runs the worker loop during the block. At its end, running work is finished or released."""
    task = None if worker is None else asyncio.create_task(worker.run())
    try:
        yield
    finally:
        if worker is not None and task is not None:
            await worker.stop()
            await task


@contextmanager
def _on_signals(stop: Callable[[], object]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
