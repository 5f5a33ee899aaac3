"""The gateway's client against faulty sockets: what was certainly not sent, and what is unknown."""

import asyncio
import json
import math
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from gateway_words import NOT_TAKEN, SEEN_BEFORE
from qrtrack.domain.akselgate.answers import Verdict
from qrtrack.domain.akselgate.attempts import AttemptOutcome
from qrtrack.domain.akselgate.faults import Fault
from qrtrack.integrations import akselgate
from qrtrack.integrations.akselgate import Akselgate
from qrtrack.sandbox import TOKEN, Request, Sandbox, Scripted
from qrtrack.settings import Settings
from ticking import HANG_SECONDS, altered
from treasury import PASSWORD, gateway_settings

PAYLOAD = '{"requestId":"1","totalTx":"0","data":[]}'
LARGE = '{"requestId":"1","totalTx":"0","data":[],"filling":"' + "x" * 30_000_000 + '"}'


def client(address: str, **changes: Any) -> Akselgate:
    return Akselgate(gateway_settings(Settings(_env_file=None), address, uuid4(), **changes))


async def send(sender: Akselgate, payload: str = PAYLOAD, *, not_after: float = math.inf) -> Verdict:
    return await sender.send(payload, not_after=not_after)


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def raw(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """The address of a bare server. Closes its connections afterwards."""
    tasks: list[asyncio.Task[Any]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        try:
            await handler(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    yield f"http{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def gateway() -> AsyncIterator[Sandbox]:
    gateway = Sandbox(callback_seconds=None)
    await gateway.start()
    yield gateway
    await gateway.stop()


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.mark.parametrize("address", ["http://no-such-host.invalid", "http://127.0.0.1:{port}"])
async def test_without_a_login_nothing_is_sent(address: str) -> None:
    verdict = await send(client(address.format(port=unused_port())))
    assert (verdict.outcome, verdict.status_code) == (AttemptOutcome.NOT_SENT, "unknown")


async def logged_in(gateway: Sandbox, address: str, **changes: Any) -> Akselgate:
    """A client with a token, then pointed at another address: only the batch meets the fault."""
    sender = client(gateway.address, **changes)
    await sender._token()
    sender._address = address
    return sender


@pytest.mark.parametrize("address", ["http://no-such-host.invalid", "http://127.0.0.1:{port}"])
async def test_an_unknown_host_or_a_closed_port_means_not_sent(gateway: Sandbox, address: str) -> None:
    sender = await logged_in(gateway, address.format(port=unused_port()))
    verdict = await send(sender)
    assert (verdict.outcome, verdict.status_code) == (AttemptOutcome.NOT_SENT, "unknown")


async def test_an_untrusted_certificate_means_not_sent(
    gateway: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """TLS rejects a self-signed certificate before the first byte is sent."""
    received = bytearray()

    async def swallow(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        received.extend(await reader.read(1))

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed(tmp_path_factory))
    async with raw(swallow, context) as address:
        verdict = await send(await logged_in(gateway, address))
    assert verdict.outcome is AttemptOutcome.NOT_SENT
    assert not received


def self_signed(tmp_path_factory: pytest.TempPathFactory) -> str:
    from datetime import UTC, datetime, timedelta
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gateway")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return str(file)


async def test_a_connection_that_is_never_established_means_not_sent(
    gateway: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listener with a full backlog never accepts the connection."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.settimeout(0)
            one.connect_ex(listener.getsockname())
        sender = await logged_in(gateway, f"http://127.0.0.1:{listener.getsockname()[1]}")
        monkeypatch.setattr(akselgate, "CONNECT_SECONDS", 0.3)
        verdict = await send(sender)
        for one in waiting:
            one.close()
    assert verdict.outcome is AttemptOutcome.NOT_SENT
    assert "ConnectTimeout" in str(verdict.response_message)


class Deadline:
    """Replaces the client's clock: the deadline of the latest request ends when the test says so. `seconds` has the
    deadlines that the client has set.
    """

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._running: list[asyncio.Timeout] = []

    def begin(self, seconds: float) -> asyncio.Timeout:
        self.seconds.append(seconds)
        self._running.append(asyncio.timeout(HANG_SECONDS))
        return self._running[-1]

    def end(self) -> None:
        self._running[-1].reschedule(0)


@pytest.fixture
def deadline(monkeypatch: pytest.MonkeyPatch) -> Deadline:
    deadline = Deadline()
    monkeypatch.setattr(akselgate, "asyncio", altered(asyncio, timeout=deadline.begin))
    return deadline


@pytest.mark.parametrize(
    ("payload", "fault"),
    [(PAYLOAD, Fault.HANG), (LARGE, Fault.HANG_UNREAD), (PAYLOAD, Fault.HANG_UNREAD)],
    ids=["no answer", "not read to the end", "not read"],
)
async def test_a_timeout_after_the_first_byte_means_unknown(
    gateway: Sandbox, deadline: Deadline, payload: str, fault: Fault
) -> None:
    gateway.faults.append(fault)
    gateway.say = lambda line: deadline.end() if "hang" in line else None
    sender = await logged_in(gateway, gateway.address, akselgate_deadline_seconds=HANG_SECONDS - 1)
    verdict = await send(sender, payload)
    assert (verdict.outcome, verdict.status_code) == (AttemptOutcome.UNKNOWN, "unknown")
    assert "TimeoutError" in str(verdict.response_message)
    assert set(deadline.seconds) == {HANG_SECONDS - 1}


async def test_a_slow_answer_is_cut_off_at_the_deadline_of_the_whole_request(
    gateway: Sandbox, deadline: Deadline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte arrives in time, the whole answer does not."""
    begin, exchanges = akselgate._Exchange, []

    def remember(not_after: float) -> akselgate._Exchange:
        exchanges.append(begin(not_after))
        return exchanges[-1]

    monkeypatch.setattr(akselgate, "_Exchange", remember)

    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        while len(exchanges[0].body) < 2:
            writer.write(b"{")
            await asyncio.sleep(0.05)
        deadline.end()
        await asyncio.Event().wait()

    async with raw(drip) as address:
        verdict = await send(await logged_in(gateway, address))
    assert (verdict.outcome, verdict.status_code) == (AttemptOutcome.UNKNOWN, "200")
    assert set(str(verdict.response_payload)) == {"{"}
    assert "TimeoutError" in str(verdict.response_message)


async def test_a_reset_before_any_answer_is_unknown(gateway: Sandbox) -> None:
    async def reset(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read(10)

    async with raw(reset) as address:
        verdict = await send(await logged_in(gateway, address))
    assert (verdict.outcome, verdict.status_code) == (AttemptOutcome.UNKNOWN, "unknown")


async def test_a_too_long_answer_means_unknown(gateway: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(akselgate, "ANSWER_BYTES", 1000)
    gateway.faults.append(Scripted(200, b'{"a": "' + b"x" * 5000 + b'"}'))
    verdict = await send(client(gateway.address))
    assert verdict.outcome is AttemptOutcome.UNKNOWN
    assert "AnswerTooLong" in str(verdict.response_message)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_never_followed(gateway: Sandbox, status: int) -> None:
    second = Sandbox(callback_seconds=None)
    await second.start()
    gateway.faults.append(Scripted(status, b"", headers=f"Location: {second.address}/transaction/insert\r\n"))
    verdict = await send(client(gateway.address))
    await second.stop()
    outcome = AttemptOutcome.REJECTED if status in {307, 308} else AttemptOutcome.UNKNOWN
    assert (verdict.outcome, verdict.status_code) == (outcome, str(status))
    assert (len(gateway.requests), len(second.requests)) == (1, 0)


@pytest.mark.parametrize("status", [400, 404, 422])
async def test_a_refusal_that_may_hide_a_payment_is_unknown(gateway: Sandbox, status: int) -> None:
    sender = client(gateway.address)
    for texts, outcome in ((SEEN_BEFORE, AttemptOutcome.UNKNOWN), (NOT_TAKEN, AttemptOutcome.REJECTED)):
        for text in texts:
            body = json.dumps({"responseCode": "99", "responseMessage": text}, ensure_ascii=False).encode()
            gateway.faults.append(Scripted(status, body))
            assert ((await send(sender)).outcome, text) == (outcome, text)


@pytest.mark.parametrize(
    ("charset", "body"),
    [
        ("", '\ufeff{"data": {"token": "sandbox-token", "bank": "é"}}'.encode()),
        ("", '{"data": {"token": "sandbox-token", "bank": "é"}}'.encode("iso-8859-1")),
        ("Content-Type: application/json; charset=iso-8859-1\r\n",
         '{"data": {"token": "sandbox-token", "bank": "é"}}'.encode("iso-8859-1")),
    ],
)  # fmt: skip
async def test_answers_to_logins_and_batches_are_read_in_any_charset(
    gateway: Sandbox, charset: str, body: bytes
) -> None:
    gateway.login = Scripted(200, body, headers=charset)
    gateway.faults.append(Scripted(201, body, headers=charset))
    verdict = await send(client(gateway.address))
    assert (verdict.outcome, len(gateway.requests)) == (AttemptOutcome.ACCEPTED, 1)


@pytest.mark.parametrize(
    ("status", "body"),
    [(401, b"{}"), (500, b""), (200, b"no JSON"), (200, b"[]"), (200, b'{"data": {}}'),
     (200, b'{"data": {"token": 5}}'), (200, b'{"data": {"token": "a\\nb"}}'),
     (200, b"[" * 99_999), (302, b'{"data": {"token": "x"}}')],
)  # fmt: skip
async def test_a_login_that_fails_sends_nothing(gateway: Sandbox, status: int, body: bytes) -> None:
    gateway.login = Scripted(status, body)
    verdict = await send(client(gateway.address))
    assert (verdict.outcome, verdict.status_code) == (AttemptOutcome.NOT_SENT, "unknown")
    assert gateway.requests == []


async def test_a_process_suspended_until_its_attempt_is_stale_sends_nothing(gateway: Sandbox) -> None:
    verdict = await send(client(gateway.address), not_after=time.monotonic())
    assert (verdict.outcome, verdict.status_code) == (AttemptOutcome.NOT_SENT, "unknown")
    assert verdict.response_message == "The batch did not reach the gateway (TooLate: the time for sending was over)."
    assert (gateway.logins, gateway.requests) == (1, [])


async def test_a_too_long_login_answer_means_not_sent(gateway: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(akselgate, "ANSWER_BYTES", 1000)
    gateway.login = Scripted(200, b'{"data": {"token": "' + b"x" * 5000 + b'"}}')
    verdict = await send(client(gateway.address))
    assert verdict.outcome is AttemptOutcome.NOT_SENT
    assert "AnswerTooLong" in str(verdict.response_message)
    assert gateway.requests == []


async def test_a_login_that_hangs_until_the_deadline_sends_nothing(gateway: Sandbox) -> None:
    gateway.login = Fault.HANG
    verdict = await send(client(gateway.address, akselgate_deadline_seconds=0.3))
    assert verdict.outcome is AttemptOutcome.NOT_SENT
    assert "not reached" not in str(verdict.response_message)


async def test_fifty_senders_log_in_once_and_share_a_failure(gateway: Sandbox) -> None:
    sender = client(gateway.address)
    gateway.login = Scripted(500, b"")
    verdicts = await asyncio.gather(*(send(sender) for _ in range(50)))
    assert {verdict.outcome for verdict in verdicts} == {AttemptOutcome.NOT_SENT}
    assert gateway.logins == 1
    gateway.login = Fault.NONE
    verdicts = await asyncio.gather(*(send(sender) for _ in range(50)))
    assert {verdict.outcome for verdict in verdicts} == {AttemptOutcome.ACCEPTED}
    assert gateway.logins == 2


@pytest.mark.parametrize(("status", "logins"), [(401, 2), (403, 2), (400, 1)])
async def test_a_refused_token_is_dropped(gateway: Sandbox, status: int, logins: int) -> None:
    sender = client(gateway.address)
    gateway.faults.append(Scripted(status, b'{"message": "no"}'))
    assert (await send(sender)).outcome is AttemptOutcome.REJECTED
    assert (await send(sender)).outcome is AttemptOutcome.ACCEPTED
    assert gateway.logins == logins


async def test_every_batch_uses_a_new_connection_and_no_proxy(
    gateway: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{unused_port()}")
    sender = client(gateway.address)
    for _ in range(3):
        assert (await send(sender)).outcome is AttemptOutcome.ACCEPTED
    assert gateway.connections == 1 + 3


async def test_the_client_sends_the_given_bytes(gateway: Sandbox) -> None:
    await send(client(gateway.address))
    (request,) = gateway.requests
    assert request.body == PAYLOAD.encode()
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["authorization"] == f"Bearer {TOKEN}"


async def test_no_secret_reaches_a_log_line_or_a_verdict(gateway: Sandbox) -> None:
    async def nothing(_request: Request) -> None:
        return

    gateway.on_insert = nothing
    sender = client(gateway.address)
    with capture_logs() as logs:
        verdicts = [await send(sender)]
        sender.deadline_seconds = 0.3
        gateway.faults.append(Fault.HANG)
        verdicts.append(await send(sender))
        gateway.login, sender._login = Scripted(401, PASSWORD.encode()), None
        verdicts.append(await send(sender))
    told = repr(logs) + repr(verdicts) + repr(sender._settings)
    assert PASSWORD not in told
    assert TOKEN not in told
