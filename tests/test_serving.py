import asyncio
import gc
import os
import signal
import socket

from qrtrack.serving import serve
from qrtrack.settings import Settings


async def test_what_a_serving_process_is_made_of_is_not_collected_again_and_again(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    before = gc.get_freeze_count()
    serving = asyncio.create_task(serve(settings, host="127.0.0.1", port=port, with_worker=False))
    try:
        async with asyncio.timeout(20):
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
