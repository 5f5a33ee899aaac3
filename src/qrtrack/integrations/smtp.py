"""Sends e-mail over SMTP."""

import asyncio
import socket
import ssl
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from typing import Final
from urllib.parse import unquote, urlsplit

import aiosmtplib

from qrtrack.integrations.http import tls

SECONDS: Final = 30.0
UNREACHABLE: Final = (
    aiosmtplib.SMTPConnectError,
    aiosmtplib.SMTPTimeoutError,
    aiosmtplib.SMTPServerDisconnected,
)
PORTS: Final = {"smtp": 25, "smtps": 465}


class MailNotSent(Exception):
    """The mail server did not confirm that it took the mail. The message is the reason to record. `permanent`: the
    server refused this mail or its recipient for good (5xx).
    """

    def __init__(self, reason: str, *, permanent: bool = False) -> None:
        super().__init__(reason)
        self.permanent = permanent


class Mailer:
    """One mail server: smtps://user:password@host, or smtp://. With a user, smtp:// requires STARTTLS; without one, it
    sends unencrypted.
    """

    def __init__(self, url: str, sender: str, verify: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(url)
        self._sender = sender
        self._domain = parseaddr(sender)[1].rpartition("@")[2]
        self._host = parts.hostname
        self._port = parts.port or PORTS[parts.scheme]
        self._username = unquote(parts.username) if parts.username else None
        self._password = unquote(parts.password) if parts.password else None
        self._use_tls = parts.scheme == "smtps"
        self._tls = verify or tls()

    async def send(self, message_id: str, *, to: str, subject: str, text: str) -> None:
        """Sends one mail. The Message-ID is the same in every attempt. Raises MailNotSent."""
        message = EmailMessage()
        message["From"] = self._sender
        message["To"] = to
        message["Subject"] = subject
        message["Date"] = format_datetime(datetime.now(UTC))
        message["Message-ID"] = f"<{message_id}@{self._domain}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(text)
        try:
            async with asyncio.timeout(SECONDS):
                await self._deliver(message)
        except (aiosmtplib.SMTPRecipientsRefused, aiosmtplib.SMTPDataError) as error:
            code = max(
                (refusal.code for refusal in getattr(error, "recipients", ())), default=getattr(error, "code", 0)
            )
            raise MailNotSent(f"the mail server refused the message ({code})", permanent=code >= 500) from None
        except aiosmtplib.SMTPResponseException as error:
            raise MailNotSent(f"the mail server answered {error.code}") from None
        except (TimeoutError, OSError, *UNREACHABLE) as error:
            raise MailNotSent(f"the mail server cannot be reached ({type(error).__name__})") from None
        except aiosmtplib.SMTPException as error:
            raise MailNotSent(f"the mail server cannot be used: {error}") from None

    async def _deliver(self, message: EmailMessage) -> None:
        await aiosmtplib.send(
            message,
            hostname=self._host,
            port=self._port,
            username=self._username,
            password=self._password,
            use_tls=self._use_tls,
            start_tls=not self._use_tls and self._username is not None,
            tls_context=self._tls,
            local_hostname=socket.gethostname(),
            timeout=SECONDS,
        )
