"""A process that serves: what it consists of, and how it ends, also if a signal comes before it has begun."""

import asyncio
import gc
import os
import signal
import socket

import pytest

from qrtrack.runtime import Runtime
from qrtrack.serving import opened, serve
from qrtrack.settings import Settings
from ticking import HANG_SECONDS


async def test_a_serving_process_freezes_its_start_up_objects_for_the_garbage_collector(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    before = gc.get_freeze_count()
    serving = asyncio.create_task(serve(settings, host="127.0.0.1", port=port, with_worker=False))
    try:
        async with asyncio.timeout(HANG_SECONDS):
            await listening(port)
        assert gc.get_freeze_count() > before + 10_000
        os.kill(os.getpid(), signal.SIGTERM)
        await serving
    finally:
        gc.unfreeze()


async def listening(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.02)
            continue
        writer.close()
        return


async def test_a_signal_that_nobody_handles_yet_ends_the_process_in_good_order(settings: Settings) -> None:
    steps = []
    async with opened(settings) as runtime:
        steps.append(type(runtime))
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(10)
        steps.append(type(runtime))
    assert steps == [Runtime]


async def test_a_signal_ends_a_process_that_waits_for_its_database_without_a_runtime(settings: Settings) -> None:
    nowhere = settings.model_copy(update={"database_url": "postgresql://qrtrack@127.0.0.1:1/qrtrack"})
    asyncio.get_running_loop().call_later(0.2, os.kill, os.getpid(), signal.SIGTERM)
    async with opened(nowhere) as runtime:
        assert runtime is None


async def test_any_other_cancellation_is_passed_on(settings: Settings) -> None:
    async def serve() -> None:
        async with opened(settings):
            await asyncio.sleep(10)

    task = asyncio.create_task(serve())
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
