"""A stand-in for the label printer of the packing station. It writes the labels that it receives to a file."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from qrtrack.demo.telling import PATIENCE_SECONDS, Teller, expect
from qrtrack.domain.labels.printers import FIRST_PORT, HOST_STATUS, LAST_PORT

API = "/api/manufacturer"
HOST = "127.0.0.1"
READY = b"\x02030,0,0,1245,000,0,0,0,000,0,0,0\x03\r\n\x02000,0,0,0,0,2,4,0,0,1,000\x03\r\n\x021234,0\x03\r\n"


class StandIn:
    """The stand-in. It always reports that it is ready."""

    def __init__(self) -> None:
        self.printed = b""

    async def start(self) -> asyncio.Server | None:
        """Starts the stand-in on the first free port that printers may have. Returns None if no port is free."""
        for port in range(FIRST_PORT, LAST_PORT + 1):
            try:
                return await asyncio.start_server(self._print, HOST, port)
            except OSError:
                continue
        return None

    async def _print(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65536):
            if HOST_STATUS in piece:
                writer.write(READY)
            self.printed += piece.replace(HOST_STATUS, b"")
        writer.close()


@asynccontextmanager
async def printing(tell: Teller, folder: Path, *, station: str, cases: int) -> AsyncIterator[None]:
    """During the block, the stand-in prints the labels of the cases that the station packs."""
    printer = StandIn()
    server = await printer.start()
    if server is None:
        tell.say("[yellow]No port from 9100 to 9109 is free: the labels of the cases are not printed.[/]")
        yield
        return
    async with server:
        address = f"{HOST}:{server.sockets[0].getsockname()[1]}"
        body = {"name": station, "address": address, "stations": [station]}
        stored = await tell.post(f"{API}/printers", body, status=201)
        yield
        jobs = (await tell.get(f"{API}/print-jobs", printer_id=stored["printer_id"]))["print_jobs"]
        expect("labels that packing queued", len(jobs), cases)
        async with asyncio.timeout(PATIENCE_SECONDS):
            # Labels are printed in order, so when the newest one is printed, all are.
            while (last := await tell.get(f"{API}/print-jobs/{jobs[0]['print_job_id']}", wait=5))[
                "finished_at"
            ] is None:
                pass
        expect("the last label", last["status"], "completed")
        came_out = re.findall(rb"\^FDMA,([^^]+)", printer.printed)
        expect("labels that came out", came_out, [job["master_code"].encode() for job in reversed(jobs)])
        file = folder / "case-labels.zpl"
        await asyncio.to_thread(_write, file, printer.printed)
        tell.say(f"The labels of {cases} cases came out of the station's printer, each once: {file}")


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
