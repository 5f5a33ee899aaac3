"""A connection to a printer: what was sent for certain, what was not, and what nobody knows."""

import asyncio
import ipaddress
import socket
from contextlib import AbstractAsyncContextManager

import pytest

from printer import PORT, StandIn, own_host
from qrtrack.domain.labels.print_jobs import PrintBroken, PrinterNotReached
from qrtrack.integrations import printers
from qrtrack.integrations.printers import PrinterConnection, connected, resolve

LONG = b"^XA^XZ\r\n" * 100_000


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, a printer that does its work is waited for."""
    for name in ("CONNECT_SECONDS", "SILENT_SECONDS", "ANSWER_SECONDS"):
        monkeypatch.setattr(printers, name, 60)


def connection_to(printer: StandIn) -> AbstractAsyncContextManager[PrinterConnection]:
    return connected(ipaddress.ip_address(printer.host), PORT)


async def send_whole(connection: PrinterConnection, content: bytes) -> None:
    await connection.send(content)
    await connection.finish()


async def sent(printer: StandIn, content: bytes, *, asks: bool = True) -> int:
    async with connection_to(printer) as connection:
        if asks:
            assert await connection.ask_status() == []
        await send_whole(connection, content)
        return connection.sent


@pytest.mark.parametrize("answers", [True, False])
async def test_a_long_job_arrives_whole_also_at_a_printer_that_reads_slowly(*, answers: bool) -> None:
    async with StandIn(answers=answers, bytes_at_a_time=20_000, pause=0.001).on() as printer:
        assert await sent(printer, LONG, asks=answers) == len(LONG)
        assert printer.labels == [LONG]


async def test_a_printer_that_is_off_was_sent_nothing() -> None:
    with pytest.raises(PrinterNotReached, match="connection refused"):
        await sent(StandIn(), b"^XA^XZ")


async def test_a_printer_that_accepts_no_connection_was_sent_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its queue of connections is full, as a printer's is that prints for another computer."""
    monkeypatch.setattr(printers, "CONNECT_SECONDS", 0.25)
    host = own_host()
    with socket.create_server((host, PORT), backlog=0):
        waiting = [socket.socket() for _ in range(3)]
        for other in waiting:
            other.settimeout(0)
            other.connect_ex((host, PORT))
        with pytest.raises(PrinterNotReached, match=r"did not answer within 0\.25 s"):
            await sent(StandIn(host), b"^XA^XZ")
        for other in waiting:
            other.close()


async def test_a_printer_that_hangs_up_when_it_is_asked_was_sent_nothing() -> None:
    async with StandIn(answers=False, breaks_after=0).on() as printer:
        with pytest.raises(PrinterNotReached):
            await sent(printer, b"^XA^XZ")


@pytest.mark.parametrize("answers", [True, False])
@pytest.mark.parametrize("after", [1, 3, 300_000])
@pytest.mark.parametrize("fault", ["breaks_after", "hangs_after"])
async def test_a_failure_after_the_first_byte_is_a_broken_print(
    fault: str, after: int, *, answers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The time that a printer has for what it holds in its buffer.
    monkeypatch.setattr(printers, "SLOWEST_PRINTER", 10**9)
    if fault == "hangs_after":
        monkeypatch.setattr(printers, "SILENT_SECONDS", 0.25)
    async with StandIn(answers=answers).on() as printer, connection_to(printer) as connection:
        if answers:
            await connection.ask_status()
        setattr(printer, fault, after)
        with pytest.raises(PrintBroken, match=r"The connection broke after \d+ bytes: \w+"):
            await send_whole(connection, LONG if after > 3 else b"^XA^XZ")


async def test_a_label_that_the_printer_read_by_half_is_not_taken_for_printed() -> None:
    """TCP had delivered all of it: only the printer knows what it read."""
    async with StandIn(bytes_at_a_time=3).on() as printer, connection_to(printer) as connection:
        printer.breaks_after = 3
        await connection.send(b"^XA^XZ")
        with pytest.raises(PrintBroken):
            await connection.finish()


@pytest.mark.parametrize("fault", ["breaks_after", "hangs_after"])
async def test_the_stand_in_does_not_answer_after_its_fault(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if TCP delivers the question in one piece with the label."""
    async with StandIn().on() as printer, connection_to(printer) as connection:
        await connection.ask_status()
        setattr(printer, fault, 3)
        monkeypatch.setattr(printers, "SILENT_SECONDS", 0.25 if fault == "hangs_after" else 60)
        await connection.send(b"^XA^XZ~HS")
        with pytest.raises(PrintBroken):
            await connection.finish()


async def test_an_answer_that_comes_in_pieces_or_is_no_status_is_handled(monkeypatch: pytest.MonkeyPatch) -> None:
    async def in_pieces(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(3)
        for byte in StandIn(paper_out=True).status:
            writer.write(bytes([byte]))
            await writer.drain()
        await reader.read()
        writer.close()

    printer = StandIn()
    async with await asyncio.start_server(in_pieces, printer.host, PORT), connection_to(printer) as connection:
        assert await connection.ask_status() == ["the paper is out"]
    monkeypatch.setattr(printers, "ANSWER_SECONDS", 0.1)

    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x02 220 ready \x03" * 2)
        await reader.read()
        writer.close()

    printer = StandIn()
    async with await asyncio.start_server(nonsense, printer.host, PORT), connection_to(printer) as connection:
        assert await connection.ask_status() == []
        await send_whole(connection, b"^XA^XZ")


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("0x7f.1", "127.0.0.1"),
        ("nosuch.invalid", None),
        ("a" * 64 + ".b", None),
    ],
)
async def test_names_are_looked_up(host: str, found: str | None) -> None:
    assert await resolve(host, PORT) == ([ipaddress.ip_address(found)] if found else [])
