"""A stand-in for the bank gateway. It takes batches, calls back, and simulates faults.

It writes HTTP to the socket itself, because a web framework cannot cut off an answer in the middle.
"""

import asyncio
import json
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlencode

import httpx2

from qrtrack import listening
from qrtrack.domain.akselgate.faults import Fault
from qrtrack.domain.masking import masked

TOKEN: Final = "sandbox-token"  # noqa: S105 - valid in this sandbox only
REQUEST_BYTES: Final = 32 * 1024 * 1024
REFUSED_SECONDS: Final = 10.0
FAILING: Final = "FAIL"
PATIENCE_SECONDS: Final = 5.0


NOT_TAKEN: Final = frozenset({Fault.HANG_UNREAD, Fault.DUPLICATE, Fault.REDIRECT, Fault.REJECT})


@dataclass(frozen=True, slots=True)
class Request:
    """One received request. `body` contains its exact bytes."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Scripted:
    """A fixed answer. `taken` says whether the sandbox counts the batch as taken."""

    status: int
    body: bytes
    taken: bool = False
    headers: str = ""


Answer = Fault | Scripted

BROKEN_OFF: Final = b"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n"
TAKEN: Final = Scripted(201, b'{"responseCode": "00", "responseMessage": "Taken"}')
LOGGED_IN: Final = Scripted(200, json.dumps({"data": {"token": TOKEN}}).encode())
SCRIPTS: Final = {
    Fault.ERROR: Scripted(500, b'{"responseCode": "500", "responseMessage": "Internal error"}'),
    Fault.INVALID_JSON: Scripted(200, b"<html>OK</html>"),
    Fault.DUPLICATE: Scripted(409, b'{"responseCode": "409", "responseMessage": "Duplicate request"}'),
    Fault.REJECT: Scripted(400, b'{"responseCode": "400", "responseMessage": "The batch is not valid"}'),
}


@dataclass(slots=True)
class Sandbox:
    """The stand-in gateway. Each batch uses up one of `faults`; when there are none, `standing` applies. `login`: the
    answer to logins.

    `taken` counts how often each reference was taken.
    """

    say: Callable[[str], None] = lambda _line: None
    callback_seconds: float | None = 1.0
    standing: Answer = Fault.NONE
    faults: deque[Answer] = field(default_factory=deque)
    login: Answer = Fault.NONE
    logins: int = 0
    connections: int = 0
    requests: list[Request] = field(default_factory=list)
    taken: Counter[str] = field(default_factory=Counter)
    on_insert: Callable[[Request], Any] | None = None
    address: str = ""
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._server = await asyncio.start_server(self._serve, host, port, limit=REQUEST_BYTES)
        host, port = self._server.sockets[0].getsockname()[:2]
        self.address = f"http://{host}:{port}"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def refuse(self, seconds: float) -> None:
        """Refuses connections for this time."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        self._server.close()
        await asyncio.sleep(seconds)
        self._server = await asyncio.start_server(self._serve, host, port, limit=REQUEST_BYTES)
        self.say("listening again")

    def _keep(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            await self._answer(reader, writer)
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            self.say("a request was broken off, or could not be read")
        except asyncio.CancelledError:
            # The sandbox is stopping. asyncio would log the cancelled handler as an error.
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *lines = head.rstrip().split("\r\n")
        method, path, _ = line.split(" ", 2)
        headers = {name.strip().lower(): value.strip() for name, _, value in (entry.partition(":") for entry in lines)}
        answer = self._next_answer() if path.endswith("/transaction/insert") else Fault.NONE
        if answer is Fault.HANG_UNREAD:
            self.say("got a batch: hanging without reading it")
            await asyncio.Event().wait()
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        request = Request(method, path, headers, body)
        if path.endswith("/login"):
            self.logins += 1
            self.say("login")
            await self._misbehave(self.login, writer, LOGGED_IN)
        elif path.endswith("/transaction/insert"):
            await self._insert(request, answer, writer)
        elif path == "/sandbox/fault":
            await self._set_fault(json.loads(body), writer)
        else:
            await _reply(writer, 404, {"responseCode": "404", "responseMessage": "There is no such endpoint."})

    def _next_answer(self) -> Answer:
        return self.faults.popleft() if self.faults else self.standing

    async def _insert(self, request: Request, answer: Answer, writer: asyncio.StreamWriter) -> None:
        self.requests.append(request)
        if self.on_insert is not None:
            await self.on_insert(request)
        content = json.loads(request.body)
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            await _reply(writer, 401, {"responseCode": "401", "responseMessage": "Log in first."})
            return
        is_taken = answer.taken if isinstance(answer, Scripted) else answer not in NOT_TAKEN
        self.say(_describe(content, answer, is_taken=is_taken))
        if is_taken:
            self.taken.update(entry["referenceNumber"] for entry in content["data"])
            if self.callback_seconds is not None:
                self._keep(self._call_back(content["data"]))
        await self._misbehave(answer, writer, TAKEN)

    async def _misbehave(self, answer: Answer, writer: asyncio.StreamWriter, sound: Scripted) -> None:
        match answer:
            case Fault.HANG:
                await asyncio.Event().wait()
            case Fault.RESET:
                writer.write(BROKEN_OFF)
                await writer.drain()
                writer.transport.abort()
            case Fault.HALF:
                writer.write(BROKEN_OFF + b'{"responseCode": "0')
                await writer.drain()
            case Fault.REDIRECT:
                await _send(writer, 307, b"", f"Location: {self.address}/transaction/insert\r\n")
            case _:
                script = answer if isinstance(answer, Scripted) else SCRIPTS.get(answer, sound)
                await _send(writer, script.status, script.body, script.headers)

    async def _set_fault(self, asked: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        """Sets the fault that the caller sent. `{"fault": …}` applies to the next batch, with `times: N` to the next N
        batches, with `times: null` to all batches until it is changed. `refuse` does not wait for a batch: it closes
        the port now, for `seconds`.
        """
        fault, times = Fault(asked["fault"]), asked.get("times", 1)
        await _reply(writer, 200, {"fault": fault, "times": times})
        if fault is Fault.REFUSE:
            self._keep(self.refuse(float(asked.get("seconds", REFUSED_SECONDS))))
        elif times is None:
            self.standing = fault
        else:
            self.faults.extend([fault] * int(times))

    async def _call_back(self, rows: Sequence[dict[str, Any]]) -> None:
        """Reports references that begin with FAIL as failed, all others as paid."""
        assert self.callback_seconds is not None
        await asyncio.sleep(self.callback_seconds)
        async with httpx2.AsyncClient(timeout=PATIENCE_SECONDS, trust_env=False) as client:
            for row in rows:
                reference = row["referenceNumber"]
                result = "51" if reference.startswith(FAILING) else "00"
                query = urlencode({"ref": reference, "rescore": result, "rescoreref": f"BANK-{reference}"})
                try:
                    answer = await client.get(f"{row['callback_url']}?{query}")
                    self.say(f"called back for {reference} with {result}: {answer.status_code}")
                except httpx2.HTTPError as error:
                    self.say(f"could not call back for {reference}: {type(error).__name__}")


def _describe(content: dict[str, Any], answer: Answer, *, is_taken: bool) -> str:
    rows = content["data"]
    total = sum((Decimal(row["amount"]) for row in rows), Decimal(0))
    shown = ", ".join(
        f"{row['referenceNumber']} {row['amount']} {masked(row['debitAccount'])} → {masked(row['creditAccount'])}"
        for row in rows[:10]
    )
    more = f" and {len(rows) - 10} more" if len(rows) > 10 else ""
    how = "taken" if is_taken else "not taken"
    answered = answer if isinstance(answer, Fault) else answer.status
    head = f"request {content['requestId']}: {content['totalTx']} rows, sum {total}, {how}, fault {answered}"
    return f"{head}: {shown}{more}"


async def _reply(writer: asyncio.StreamWriter, status: int, content: dict[str, Any]) -> None:
    await _send(writer, status, json.dumps(content).encode())


async def _send(writer: asyncio.StreamWriter, status: int, body: bytes, headers: str = "") -> None:
    head = f"HTTP/1.1 {status} Sandbox\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    writer.write(f"{head}{headers}Connection: close\r\n\r\n".encode() + body)
    await writer.drain()


async def run(*, host: str, port: int, fault: Fault, callback_seconds: float, say: Callable[[str], None]) -> None:
    """Runs until it is cancelled."""
    sandbox = Sandbox(say=say, callback_seconds=callback_seconds, standing=fault)
    with listening.explained(host, port):
        await sandbox.start(host, port)
    say(f"A stand-in bank gateway listens at {sandbox.address}. Start the service with:")
    say(f"  AKSELGATE_BASE_URL={sandbox.address} AKSELGATE_USERNAME=u AKSELGATE_PASSWORD=p AKSELGATE_AMOUNT_SCALE=0")
    say("  and AKSELGATE_ORGANISATION=<the organisation of your token>. Make the next batch fail:")
    say(f'  curl -d \'{{"fault": "hang"}}\' {sandbox.address}/sandbox/fault     ({", ".join(Fault)})')
    try:
        await asyncio.Event().wait()
    finally:
        await sandbox.stop()
