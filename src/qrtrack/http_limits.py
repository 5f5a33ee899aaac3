"""Limits before a request reaches the application: connections, size of headers, and time for headers and bodies."""

import asyncio
import json
import resource
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from qrtrack.routers.http_problems import CONNECTION_PROBLEMS
from qrtrack.settings import Settings

HEADER_BYTES: Final = 64 * 1024
HEADER_SECONDS: Final = 10.0
# A body may take this long at any pace, and after that must have come at BODY_BYTES_PER_SECOND on average.
BODY_SECONDS: Final = 30.0
BODY_BYTES_PER_SECOND: Final = 10 * 1024
LOOK_SECONDS: Final = 5.0
LINGER_SECONDS: Final = 1.0
# A lingering connection is read once in this time, up to 256 KiB: enough for a body of 16 MiB in LINGER_SECONDS, and
# too little for a flood.
LINGER_READ_SECONDS: Final = 0.015
# File descriptors that are not for clients: database, logs, gateways, spooled imports.
OWN_DESCRIPTORS: Final = 300


@dataclass(slots=True)
class ConnectionLimits:
    """Counts connections, in all and by address. `per_address` is None behind a proxy: all connections come from the
    proxy's address, and the proxy must limit those of its clients.
    """

    in_all: int
    per_address: int | None
    held: int = 0
    by_address: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, settings: Settings) -> "ConnectionLimits":
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        descriptors = settings.max_connections if hard == resource.RLIM_INFINITY else max(hard - OWN_DESCRIPTORS, 1)
        per_address = None if settings.trusted_proxies else settings.max_connections_per_address
        return cls(min(settings.max_connections, descriptors), per_address)

    def take(self, address: str) -> bool:
        if self.held >= self.in_all:
            return False
        if self.per_address is not None and self.by_address[address] >= self.per_address:
            return False
        self.held += 1
        self.by_address[address] += 1
        return True

    def give_back(self, address: str) -> None:
        self.held -= 1
        self.by_address[address] -= 1
        if not self.by_address[address]:
            del self.by_address[address]


class LingeringTransport:
    """A transport that closes later while the peer still sends: closing at once would reset the connection, and the
    peer would lose the answer that it has not read yet (RFC 9112, section 9.6).
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self.write = transport.write
        self.is_peer_sending = False
        self.is_lingering = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self.is_lingering or self._transport.is_closing()

    def close(self) -> None:
        if self.is_closing() or not self.is_peer_sending:
            self._transport.close()
            return
        self.is_lingering = True
        # An earlier pipelined request may still run. Its answer is dropped, as a closing transport does.
        self.write = _drop
        self._transport.resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._loop.call_later(LINGER_SECONDS, self._transport.close)

    def drop_received(self) -> None:
        """Delays reading the next chunk. Call it for each chunk that arrives, and is dropped, while the transport
        lingers.
        """
        if not self._transport.is_closing():
            self._transport.pause_reading()
            self._loop.call_later(LINGER_READ_SECONDS, self._read_on)

    def _read_on(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()


def _drop(data: "bytes | bytearray | memoryview[Any]") -> None:
    """Writes nothing."""


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with limits for headers and time, which uvicorn does not have."""

    def __init__(self, limits: ConnectionLimits, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._limits = limits
        self._address: str | None = None
        self._timer: asyncio.TimerHandle | None = None
        # Counters of the message that is being read: bytes since the parser completed something, bytes of header fields
        # and of the body, and the time when the body began.
        self._pending = 0
        self._field_bytes = 0
        self._body_bytes = 0
        self._body_since: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._lingering = LingeringTransport(transport, self.loop)
        super().connection_made(cast("asyncio.Transport", self._lingering))
        address = self.client[0] if self.client else ""
        if not self._limits.take(address):
            self._refuse(503)
            return
        self._address = address
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        if self._address is not None:
            self._limits.give_back(self._address)
            self._address = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            self._lingering.drop_received()
            return
        self._lingering.is_peer_sending = True
        self._pending += len(data)
        super().data_received(data)
        # The parser buffers an endless field (header, trailer, chunk size) without any callback, so we count its bytes
        # here.
        if max(self._pending, self._field_bytes) > HEADER_BYTES and not self.transport.is_closing():
            self._refuse(431)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._field_bytes = 0
        self._body_since = None
        self._await_headers()

    def on_url(self, url: bytes) -> None:
        self._field_bytes += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._field_bytes += len(name) + len(value)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._stop_timer()
        self._pending = self._body_bytes = 0
        if self._field_bytes > HEADER_BYTES:
            self._refuse(431)
            return
        # Raises for an address that cannot be parsed. Then no request has begun, and `send_400_response` answers.
        super().on_headers_complete()
        self._body_since = time.monotonic()
        self._timer = self.loop.call_later(LOOK_SECONDS, self._look_at_body)

    def on_body(self, body: bytes) -> None:
        self._pending = 0
        self._body_bytes += len(body)
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._pending = 0
        self._stop_timer()
        self._lingering.is_peer_sending = False
        if not self.transport.is_closing():
            super().on_message_complete()

    def send_400_response(self, _msg: str) -> None:
        self._refuse(400)

    def _await_headers(self) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(HEADER_SECONDS, self._headers_overdue)

    def _headers_overdue(self) -> None:
        if self._is_answering():
            # The client waits for our answer to its previous request: its time for headers has not begun.
            self._await_headers()
        elif self._pending:
            self._refuse(408)
        else:
            self.transport.close()

    def _look_at_body(self) -> None:
        """Refuses a body that comes too slowly. Time in which we paused reading does not count against the peer."""
        assert self._body_since is not None
        if self.flow.read_paused:
            self._body_since += LOOK_SECONDS
        elapsed = time.monotonic() - self._body_since
        if elapsed > BODY_SECONDS + self._body_bytes / BODY_BYTES_PER_SECOND:
            self._refuse(408)
        else:
            self._timer = self.loop.call_later(LOOK_SECONDS, self._look_at_body)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, status: int) -> None:
        """Answers if an answer is due, and closes the connection: what follows on it cannot be parsed reliably."""
        self._stop_timer()
        if self.transport.is_closing():
            return
        if self._is_due_an_answer():
            self.transport.write(_refusal(status))
        self.transport.close()

    def _is_due_an_answer(self) -> bool:
        """Returns True if no answer to this request, or to an earlier pipelined one, has begun or is pending."""
        if self._body_since is None:
            return not self._is_answering()
        return not self.pipeline and not self.cycle.response_started

    def _is_answering(self) -> bool:
        # uvicorn's type says that `cycle` is never None, but it is None before the first request.
        cycle: Any = self.cycle
        return cycle is not None and not cycle.response_complete


def _refusal(status: int) -> bytes:
    slug, title, detail = CONNECTION_PROBLEMS[status]
    type_ = f"urn:qrtrack:problem:{slug}"
    body = json.dumps({"success": False, "type": type_, "title": title, "status": status, "detail": detail}).encode()
    lines = [
        b"content-type: application/problem+json",
        b"content-length: %d" % len(body),
        b"connection: close",
        b"x-content-type-options: nosniff",
        *([b"retry-after: 5"] if status == 503 else []),
    ]
    return STATUS_LINE[status] + b"\r\n".join([*lines, b"", body])
