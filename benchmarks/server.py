"""A real server process on the benchmark's database, and the cheapest client that speaks HTTP to it."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any, Self

from benchmarks.ground import SECRET, Ground
from qrtrack.integrations.tokens import sign_token

START_SECONDS = 30.0


class Refused(AssertionError):
    """The server answered with something else than 200."""


class Client:
    """One kept connection, one request at a time: its own cost is a few dozen microseconds a call."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, headers: str) -> None:
        self._reader, self._writer, self._headers = reader, writer, headers

    @classmethod
    async def connect(cls, port: int, token: str) -> Self:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        return cls(reader, writer, f"Host: benchmark\r\nAuthorization: Bearer {token}\r\n")

    async def get(self, path: str) -> Any:
        return await self._call(f"GET {path} HTTP/1.1\r\n{self._headers}\r\n".encode())

    async def post(self, path: str, body: Any, *, headers: str = "") -> Any:
        """`headers`: more lines, each with its line end."""
        content = json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1\r\n{self._headers}{headers}"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        return await self._call(head.encode() + content)

    async def _call(self, request: bytes) -> Any:
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length:")[2].partition("\r\n")[0])
        body = await self._reader.readexactly(length)
        if not head.startswith("http/1.1 200"):
            raise Refused(f"{head.splitlines()[0]}: {body.decode()}")
        return json.loads(body)

    def close(self) -> None:
        self._writer.close()


@dataclass(frozen=True)
class Server:
    """Where it listens, the token of an administrator of the organisation, and its process."""

    port: int
    token: str
    pid: int

    @asynccontextmanager
    async def clients(self, count: int) -> AsyncIterator[list[Client]]:
        """Connected now: the server closes a connection that says nothing for five seconds."""
        connected = [await Client.connect(self.port, self.token) for _ in range(count)]
        try:
            yield connected
        finally:
            for client in connected:
                client.close()


@asynccontextmanager
async def serving(
    ground: Ground, *, with_worker: bool, log: IO[str] | None = None, **settings: str
) -> AsyncIterator[Server]:
    """`qrtrack serve` in a process of its own; with `log` its lines go there instead of to the terminal."""
    caller = ground.caller
    token = sign_token(SECRET, organisation_id=ground.organisation, user_id=caller.user_id, roles=caller.roles, hours=1)
    port = free_port()
    with _server_process(ground, port, with_worker=with_worker, log=log, settings=settings) as pid:
        await answering(port)
        yield Server(port, token, pid)


@contextmanager
def _server_process(
    ground: Ground, port: int, *, with_worker: bool, log: IO[str] | None, settings: Mapping[str, str]
) -> Iterator[int]:
    environment = {
        **{name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
        "DATABASE_URL": ground.url,
        "QRTRACK_DATA_DIR": str(ground.runtime.settings.qrtrack_data_dir),
        "JWT_SECRET": SECRET,
        "SECRET_KEY": SECRET,
        "CRON_SECRET": SECRET,
        "LOG_LEVEL": "warning",
        **settings,
    }
    command = [sys.executable, "-m", "qrtrack.cli", "serve", "--port", str(port)]
    process = subprocess.Popen(command + ["--no-worker"] * (not with_worker), env=environment, stderr=log)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(timeout=30)


async def answering(port: int) -> None:
    async with asyncio.timeout(START_SECONDS):
        while True:
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.05)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
