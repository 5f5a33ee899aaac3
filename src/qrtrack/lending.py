"""Connections of the program, lent to PostgreSQL's own tools (pg_dump, psql).

The tools of the wheel know no TLS, and DATABASE_URL may say more than they understand. So the program opens each
connection itself and passes its bytes on, through a socket in a folder that is closed to others. No tool ever sees the
password.
"""

import asyncio
import struct
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg

from qrtrack.connections import KeptAliveConnection

Connect = Callable[[], Awaitable[Any]]
"""Opens a KeptAliveConnection."""
Moved = Callable[[int], None]

# The messages of PostgreSQL's protocol (chapter 54 of its manual) that a client sends and gets before its first query.
ENCRYPTION_REQUESTS: Final = (80877103, 80877104)
PROTOCOL_3: Final = 3
REPORTED: Final = (
    "server_version", "server_encoding", "client_encoding", "is_superuser", "session_authorization", "DateStyle",
    "IntervalStyle", "TimeZone", "integer_datetimes", "standard_conforming_strings",
)  # fmt: skip
CHUNK_BYTES: Final = 256 * 1024


@asynccontextmanager
async def lent(connect: Connect, moved: Moved) -> AsyncIterator[dict[str, str]]:
    """The environment for tools that shall use our connections; `moved` is told how many bytes went by."""
    # A Unix socket path holds about 100 bytes, so a deep TMPDIR would not fit.
    short = min(tempfile.gettempdir(), "/tmp", key=len)  # noqa: S108 - the folder in it is ours alone
    with tempfile.TemporaryDirectory(prefix="qrtrack-", dir=short) as folder:
        tasks: set[asyncio.Task[None]] = set()

        def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(_serve(connect, moved, reader, writer))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            # Also for a task that is cancelled before its first step.
            task.add_done_callback(lambda _: writer.close())

        server = await asyncio.start_unix_server(begin, Path(folder) / ".s.PGSQL.5432")
        try:
            yield {"PGHOST": folder, "PGPORT": "5432", "PGUSER": "qrtrack", "PGDATABASE": "qrtrack"}
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _serve(connect: Connect, moved: Moved, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        if not await _wants_session(reader, writer):
            return
        connection = await connect()
        try:
            writer.write(_greeting(connection))
            await _pass_on(connection, reader, writer, moved)
        finally:
            connection.terminate()
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        writer.write(_refusal(str(error) or type(error).__name__))
    except asyncio.IncompleteReadError:
        # A client that only tries whether somebody listens.
        return


async def _wants_session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Reads what a client begins with. False for a cancellation, which has nobody to go to."""
    while True:
        length, code = struct.unpack("!ii", await reader.readexactly(8))
        await reader.readexactly(length - 8)
        if code not in ENCRYPTION_REQUESTS:
            return bool(code >> 16 == PROTOCOL_3)
        writer.write(b"N")


def _greeting(connection: KeptAliveConnection) -> bytes:
    """What a server says after a login, which the program has done already."""
    settings = connection.get_settings()
    reported = [(name, getattr(settings, name, None)) for name in REPORTED]
    return b"".join(
        (
            _message(b"R", struct.pack("!i", 0)),
            *(_message(b"S", f"{name}\0{value}\0".encode()) for name, value in reported if value is not None),
            _message(b"K", struct.pack("!ii", connection.get_server_pid(), 0)),
            _message(b"Z", b"I"),
        )
    )


def _refusal(reason: str) -> bytes:
    return _message(b"E", f"SFATAL\0VFATAL\0C08006\0M{reason}\0\0".encode())


def _message(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("!i", len(content) + 4) + content


async def _pass_on(
    connection: KeptAliveConnection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, moved: Moved
) -> None:
    """Until one of the two ends. The driver has nothing to say on its connection any more."""
    loop = asyncio.get_running_loop()
    from_server = asyncio.StreamReader(limit=CHUNK_BYTES)
    protocol = asyncio.StreamReaderProtocol(from_server)
    connection.transport.set_protocol(protocol)
    protocol.connection_made(connection.transport)
    to_server = asyncio.StreamWriter(connection.transport, protocol, from_server, loop)
    ways = [
        asyncio.create_task(_copy(reader, to_server, moved)),
        asyncio.create_task(_copy(from_server, writer, moved)),
    ]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        to_server.close()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter, moved: Moved) -> None:
    while data := await source.read(CHUNK_BYTES):
        target.write(data)
        await target.drain()
        moved(len(data))
