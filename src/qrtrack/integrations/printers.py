"""A label printer at a TCP port (9100, raw): asks for its status, sends a label, and tells whether the printer took it.

The socket is used directly: a stream's buffers would hide how much the printer has taken.
"""

import asyncio
import ipaddress
import os
import socket
import sys
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from fcntl import ioctl
from typing import Final

from qrtrack.domain.labels.print_jobs import PrintBroken, PrinterNotReached
from qrtrack.domain.labels.printers import HOST_STATUS, Address, parse_host_status, written_address

CONNECT_SECONDS: Final = 5.0
SILENT_SECONDS: Final = 5.0
"""The connection counts as broken when the printer reads nothing for this long."""
ANSWER_SECONDS: Final = 1.0
"""A printer that does not answer `~HS` within this time gets its label all the same."""
SLOWEST_PRINTER: Final = 200
"""Bytes a second, for the time limit of `finish`, which grows with the size of the job. A printer may keep a long job
in its buffer and confirm it only after it is printed.
"""
# The kernel buffers this much when the printer reads more slowly than we send.
SEND_BUFFER: Final = 32 * 1024
LONGEST_STATUS: Final = 4096


async def resolve(host: str, port: int) -> list[Address]:
    """Returns the addresses of a host; an empty list if the name cannot be resolved."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError):
        return []
    return list(dict.fromkeys(ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found))


@asynccontextmanager
async def connected(address: Address, port: int) -> AsyncIterator["PrinterConnection"]:
    """Connects to the address itself, not to a name. Raises PrinterNotReached."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        where = written_address(str(address), port)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await asyncio.get_running_loop().sock_connect(connection, (str(address), port))
        except TimeoutError:
            raise PrinterNotReached(f"{where} did not answer within {CONNECT_SECONDS:g} s.") from None
        except OSError as error:
            raise PrinterNotReached(f"{where} cannot be reached: {_reason(error)}.") from error
        yield PrinterConnection(connection, where)


class PrinterConnection:
    """An open connection. `sent` counts the bytes of labels that the kernel has accepted for sending."""

    def __init__(self, connection: socket.socket, where: str) -> None:
        self._connection = connection
        self._where = where
        self._loop = asyncio.get_running_loop()
        self._answers = False
        self.sent = 0

    async def ask_status(self) -> list[str]:
        """Returns the reasons why the printer cannot print, as texts. A printer that does not answer within
        ANSWER_SECONDS counts as ready.

        Raises PrinterNotReached: no byte of a label was sent.
        """
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._loop.sock_sendall(self._connection, HOST_STATUS)
                status = await self._read_status()
        except TimeoutError:
            return []
        except OSError as error:
            raise PrinterNotReached(f"{self._where} broke the connection: {_reason(error)}.") from error
        if status is None:
            raise PrinterNotReached(f"{self._where} closed the connection before anything was sent.")
        self._answers = True
        return status

    async def _read_status(self) -> list[str] | None:
        """Returns None if the printer closed the connection. Skips bytes that are not a status. The caller sets the
        time limit.
        """
        answer = b""
        while (status := parse_host_status(answer)) is None:
            piece = await self._loop.sock_recv(self._connection, LONGEST_STATUS)
            if not piece:
                return None
            answer = (answer + piece)[-LONGEST_STATUS:]
        return list(status)

    async def send(self, content: bytes) -> None:
        """Raises PrintBroken."""
        rest = memoryview(content)
        while rest:
            try:
                taken = self._connection.send(rest)
            except BlockingIOError:
                await self._become_writable()
                continue
            except OSError as error:
                raise self._broken(_reason(error)) from error
            self.sent += taken
            rest = rest[taken:]

    async def finish(self) -> None:
        """Returns when the printer has read everything. Raises PrintBroken.

        A printer that has answered `~HS` is asked again: it answers after it has read the label. For any other printer
        we shut down our side of the connection, and it closes its side when it has read everything.
        """
        try:
            async with asyncio.timeout(SILENT_SECONDS + self.sent / SLOWEST_PRINTER):
                if self._answers:
                    await self._loop.sock_sendall(self._connection, HOST_STATUS)
                    if await self._read_status() is None:
                        raise self._broken("the printer closed it without an answer")
                    return
                self._connection.shutdown(socket.SHUT_WR)
                while await self._loop.sock_recv(self._connection, LONGEST_STATUS):
                    pass
        except TimeoutError:
            raise self._broken("the printer did not confirm that it has read all of them") from None
        except OSError as error:
            raise self._broken(_reason(error)) from error

    async def _become_writable(self) -> None:
        """Waits until the socket takes more bytes. Raises PrintBroken when the printer reads nothing for
        SILENT_SECONDS.
        """
        writable, left = asyncio.Event(), self._undelivered()
        self._loop.add_writer(self._connection, writable.set)
        try:
            while not writable.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(SILENT_SECONDS):
                        await writable.wait()
                        return
                before, left = left, self._undelivered()
                if left >= before:
                    raise self._broken(f"the printer read nothing for {SILENT_SECONDS:g} s")
        finally:
            self._loop.remove_writer(self._connection)

    def _undelivered(self) -> int:
        """Returns the number of bytes that the printer's TCP has not acknowledged."""
        return int.from_bytes(ioctl(self._connection, termios.TIOCOUTQ, bytes(4)), sys.byteorder)

    def _broken(self, reason: str) -> PrintBroken:
        return PrintBroken(f"The connection broke after {self.sent} bytes: {reason}.")


def _reason(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else type(error).__name__
