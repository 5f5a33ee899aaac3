"""Lends connections of the program to PostgreSQL's own tools (pg_dump, psql).

The wheel's tools cannot use TLS, and do not know all parameters of DATABASE_URL. So the program opens each connection
itself and relays its bytes, through a socket in a folder that only its own user can open. No tool sees the password.
"""

import asyncio
import struct
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg

from qrtrack.postgresql.connections import KeptAliveConnection

Connect = Callable[[], Awaitable[Any]]
"""Opens a KeptAliveConnection."""
Moved = Callable[[int], None]

# The messages of PostgreSQL's protocol (chapter 54 of its manual) that a client sends and receives before its first
# query.
ENCRYPTION_REQUESTS: Final = (80877103, 80877104)
PROTOCOL_3: Final = 3
REPORTED: Final = (
    "server_version", "server_encoding", "client_encoding", "is_superuser", "session_authorization", "DateStyle",
    "IntervalStyle", "TimeZone", "integer_datetimes", "standard_conforming_strings",
)  # fmt: skip
CHUNK_BYTES: Final = 256 * 1024


@asynccontextmanager
async def lent(connect: Connect, moved: Moved) -> AsyncIterator[dict[str, str]]:
    """Yields the environment for tools that use our connections. `moved` is called with the number of bytes that were
    relayed.
    """
    # A Unix socket path holds about 100 bytes, so a deep TMPDIR would not fit.
    short = min(tempfile.gettempdir(), "/tmp", key=len)  # noqa: S108 - the folder in it is ours alone
    with tempfile.TemporaryDirectory(prefix="qrtrack-", dir=short) as folder:
        tasks: set[asyncio.Task[None]] = set()

        def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(_serve(connect, moved, reader, writer))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            # Closes the writer also when the task is cancelled before its first step.
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
        # The client only checked whether somebody listens.
        return


async def _wants_session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Reads the first messages of a client. Returns False for a cancel request, for which there is no session."""
    while True:
        length, code = struct.unpack("!ii", await reader.readexactly(8))
        await reader.readexactly(length - 8)
        if code not in ENCRYPTION_REQUESTS:
            return bool(code >> 16 == PROTOCOL_3)
        writer.write(b"N")


def _greeting(connection: KeptAliveConnection) -> bytes:
    """Returns what a server sends after a login. The program has logged in already."""
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
    """Relays bytes until one side ends. The driver no longer uses this connection."""
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
