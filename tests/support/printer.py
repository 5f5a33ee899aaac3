"""A label printer for tests: a real TCP server that answers `~HS`, keeps what it received, and can misbehave."""

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from uuid import UUID

from plant import MadeBatch, Plant
from qrtrack.domain.labels.documents import FileFormat
from qrtrack.domain.labels.print_jobs import NewPrint
from qrtrack.domain.labels.printers import NewPrinter, PrinterAddress
from qrtrack.services.labels.print_jobs import print_on
from qrtrack.services.labels.printers import add_printer, networks_of

PORT = 9100
_hosts = count(1)


def own_host() -> str:
    """Returns a loopback address that no other test process and no other printer uses."""
    number = next(_hosts)
    return f"127.{os.getpid() // 250 % 250 + 1}.{os.getpid() % 250 + 1}.{number % 250 + 1}"


async def _at_once() -> None:
    """Answers without delay."""


@dataclass
class StandIn:
    """The printer. `labels` has what each connection sent, without `~HS`. Set faults before the printer is used."""

    host: str = field(default_factory=own_host)
    answers: bool = True
    paper_out: bool = False
    head_open: bool = False
    paused: bool = False
    buffer_full: bool = False
    breaks_after: int | None = None
    hangs_after: int | None = None
    bytes_at_a_time: int = 65536
    pause: float = 0
    labels: list[bytes] = field(default_factory=list)
    connections: int = 0
    asked: int = 0
    is_busy: bool = False
    overlapped: bool = False
    on_bytes: Callable[[], None] = lambda: None
    before_answer: Callable[[], Awaitable[object]] = _at_once

    @property
    def address(self) -> str:
        return f"{self.host}:{PORT}"

    @property
    def status(self) -> bytes:
        first = f"030,{self.paper_out:d},{self.paused:d},1245,000,{self.buffer_full:d},0,0,000,0,0,0"
        return "".join(
            f"\x02{part}\x03\r\n" for part in (first, f"000,0,{self.head_open:d},0,0,2,4,0,00000000,1,000", "1234,0")
        ).encode()

    @asynccontextmanager
    async def on(self) -> AsyncIterator["StandIn"]:
        server = await asyncio.start_server(self._serve, self.host, PORT, limit=2**12)
        self._tasks: set[asyncio.Task[None]] = set()
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def hang_up(self) -> None:
        """Resets the latest connection, and returns when it is closed."""
        for writer in self._writers:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        for task in list(self._tasks):
            await asyncio.wait({task})

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers = [writer]
        self.connections += 1
        self.overlapped |= self.is_busy
        self.is_busy = True
        self.labels.append(b"")
        try:
            await self._read(reader, writer)
        finally:
            self.is_busy = False
            writer.close()

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(self.bytes_at_a_time):
            self.labels[-1] += piece
            is_asked = self.answers and b"~HS" in self.labels[-1]  # It may come in two pieces.
            if is_asked:
                self.labels[-1] = self.labels[-1].replace(b"~HS", b"")
            self.on_bytes()
            if self.breaks_after is not None and len(self.labels[-1]) >= self.breaks_after:
                self.labels[-1] = self.labels[-1][: self.breaks_after]
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            if self.hangs_after is not None and len(self.labels[-1]) >= self.hangs_after:
                await asyncio.Event().wait()
            if is_asked:
                self.asked += 1
                self.on_bytes()
                await self.before_answer()
                writer.write(self.status)
            await asyncio.sleep(self.pause)


async def added(plant: Plant, printer: StandIn | str, **asked: object) -> UUID:
    """Stores the printer for the organisation. It prints the cases of the station `line-1`."""
    address = printer if isinstance(printer, str) else printer.address
    new = {"name": address, "stations": ["line-1"], "file_format": FileFormat.ZPL} | asked
    listed = await add_printer(
        plant.runtime.database,
        caller=plant.caller,
        networks=networks_of(plant.runtime.settings),
        new=NewPrinter(address=PrinterAddress.parse(address), **new),  # type: ignore[arg-type]
    )
    return listed.printer_id


async def ordered(plant: Plant, printer_id: UUID, batch: MadeBatch, case_number: int = 1) -> int:
    """Orders the label of a case. Returns the id of the print job."""
    return await _ordered(plant, printer_id, NewPrint(batch_id=batch.batch_id, case_number=case_number))


async def ordered_file(plant: Plant, printer_id: UUID, label_job_id: UUID, reason: str | None = None) -> int:
    """Orders the file of a label job. Returns the id of the print job."""
    return await _ordered(plant, printer_id, NewPrint(label_job_id=label_job_id, reason=reason))


async def _ordered(plant: Plant, printer_id: UUID, new: NewPrint) -> int:
    networks = networks_of(plant.runtime.settings)
    job = await print_on(plant.runtime.database, caller=plant.caller, networks=networks, printer_id=printer_id, new=new)
    return job.print_job_id
