"""A mail server on a real socket, which accepts or refuses mail as the test says."""

import asyncio
import ssl
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope


@dataclass
class Mailbox:
    """The mailbox. `refusal`: the answer to a recipient that is refused."""

    port: int = 0
    refusal: str | None = None
    password: bytes = b""
    received: list[EmailMessage] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Envelope, address: str, _options: Any) -> str:  # noqa: N802 - the library's name
        if self.refusal is not None:
            return self.refusal
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Envelope) -> str:  # noqa: N802
        content = envelope.content
        assert isinstance(content, bytes)
        self.received.append(message_from_bytes(content, policy=policy.default))
        return "250 taken"

    def authenticate(self, _server: Any, _session: Any, _envelope: Any, mechanism: str, data: Any) -> AuthResult:
        self.seen.append(mechanism)
        return AuthResult(success=data.password == self.password, handled=False)


@asynccontextmanager
async def open_mailbox(*, tls: ssl.SSLContext | None = None, login: bool = False) -> AsyncIterator[Mailbox]:
    """Opens a mail server. With `tls` it offers STARTTLS. With `login` it requires a password, also without TLS."""
    mailbox = Mailbox()
    loop = asyncio.get_running_loop()

    def connection() -> SMTP:
        with warnings.catch_warnings():
            # That it would take a password in clear is what a test is about.
            warnings.simplefilter("ignore", UserWarning)
            return SMTP(
                mailbox,
                loop=loop,
                hostname="mail.test",
                tls_context=tls,
                auth_required=login,
                auth_require_tls=False,
                authenticator=mailbox.authenticate if login else None,
            )

    server = await loop.create_server(connection, "127.0.0.1", 0)
    mailbox.port = server.sockets[0].getsockname()[1]
    try:
        yield mailbox
    finally:
        server.close()
        await server.wait_closed()
