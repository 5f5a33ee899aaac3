"""The client of the bank's gateway. All senders share one login. Each settlement is sent once, on a new connection,
without retries.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2
import structlog

from qrtrack.domain.akselgate.answers import NO_STATUS, TOKEN_REFUSED, Verdict, as_text, judge, read_object
from qrtrack.domain.akselgate.attempts import AttemptOutcome
from qrtrack.domain.akselgate.dispatches import Terms
from qrtrack.domain.errors import Unavailable
from qrtrack.integrations.http import tls
from qrtrack.settings import Settings

CONNECT_SECONDS: Final = 10.0
POOL_SECONDS: Final = 5.0
ANSWER_BYTES: Final = 64 * 1024 * 1024
NEEDED: Final = (
    "akselgate_base_url",
    "akselgate_username",
    "akselgate_password",
    "akselgate_organisation",
    "akselgate_amount_scale",
)
LOGIN_SETTINGS: Final = (
    " Check AKSELGATE_BASE_URL, AKSELGATE_USERNAME and AKSELGATE_PASSWORD on the server of this service."
)
FIRST_BYTE: Final = "send_request_headers.started"

log = structlog.get_logger(__name__)


class GatewayNotConfigured(Unavailable):
    """The server's settings for the bank gateway are missing or unusable. Nothing was sent."""

    slug = "gateway-not-configured"
    title = "The gateway is not set up"


class LoginFailed(Exception):
    """The login at the gateway failed. The message says why, and contains no secret."""


class TooLate(Exception):
    """The attempt is stale: the sweeper may have set it to unknown. Nothing was sent."""


class AnswerTooLong(Exception):
    """The answer exceeds ANSWER_BYTES."""


@dataclass(slots=True)
class _Exchange:
    """The progress of one request. `begun` says that sending has begun, so the gateway may have the settlement."""

    not_after: float
    begun: bool = False
    status: int | None = None
    body: bytearray = field(default_factory=bytearray)

    async def trace(self, event: str, _info: Any) -> None:
        """Follows the request; httpx2 calls this at each step. FIRST_BYTE comes when the connection is open, before the
        first byte is sent. Raises TooLate if it comes at `not_after` or later.
        """
        if event.endswith(FIRST_BYTE):
            if time.monotonic() >= self.not_after:
                raise TooLate("the time for sending was over")
            self.begun = True

    def verdict_on(self, error: BaseException) -> Verdict:
        """Returns the verdict when there is no complete answer: not sent before the first byte, unknown after it."""
        why = f"{type(error).__name__}: {error}".removesuffix(": ")
        return Verdict(
            AttemptOutcome.UNKNOWN if self.begun else AttemptOutcome.NOT_SENT,
            NO_STATUS if self.status is None else str(self.status),
            response_message=f"No complete answer came ({why})."
            if self.begun
            else f"The batch did not reach the gateway ({why}).",
            response_payload=as_text(bytes(self.body)) if self.body else None,
        )


class Akselgate:
    """The gateway account of this process. All senders share one token, until the gateway refuses it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._address = settings.akselgate_base_url or ""
        self._login: asyncio.Task[str] | None = None
        self._success_codes = frozenset(settings.akselgate_codes)
        self.deadline_seconds = settings.akselgate_deadline_seconds

    def terms(self) -> Terms:
        """Returns the fixed values of the account. Raises GatewayNotConfigured with the names of missing or unusable
        settings.
        """
        settings = self._settings
        missing = [name.upper() for name in NEEDED if getattr(settings, name) is None]
        if missing or settings.akselgate_amount_scale is None:
            raise GatewayNotConfigured(
                f"Nothing was sent. First set {_listed(missing)} on the server.", missing=missing
            )
        if settings.akselgate_complaint is not None:
            raise GatewayNotConfigured(f"Nothing was sent. {settings.akselgate_complaint}")
        return Terms(
            settings.akselgate_amount_scale,
            settings.akselgate_core,
            settings.akselgate_branch_code,
            settings.akselgate_branch_name,
        )

    async def send(self, payload: str, *, not_after: float) -> Verdict:
        """Always returns a verdict within the deadline. Raises only on cancellation.

        `not_after` (monotonic clock): a process that was suspended until then sends nothing.
        """
        exchange = _Exchange(not_after)
        try:
            async with asyncio.timeout(self.deadline_seconds):
                token = await self._token()
                return await self._insert(payload, token, exchange)
        except LoginFailed as error:
            return Verdict(AttemptOutcome.NOT_SENT, response_message=str(error))
        except (httpx2.HTTPError, TooLate, AnswerTooLong, TimeoutError, OSError) as error:
            return exchange.verdict_on(error)
        except Exception as error:
            # A defect of this client. As above, the first byte decides whether the gateway may have the batch.
            log.exception("the client of the gateway has a defect")
            return exchange.verdict_on(error)

    async def _insert(self, payload: str, token: str, exchange: _Exchange) -> Verdict:
        async with (
            self._client() as client,
            client.stream(
                "POST",
                f"{self._address}/transaction/insert",
                content=payload.encode("ascii"),
                headers={"Content-Type": "application/json", "Authorization": f"Bearer {token}"},
                extensions={"trace": exchange.trace},
            ) as answer,
        ):
            exchange.status = answer.status_code
            if answer.status_code in TOKEN_REFUSED:
                self._forget(token)
            await _read(answer, exchange.body)
        # Parsed in a thread: parsing megabytes would block the event loop.
        return await asyncio.to_thread(
            judge, answer.status_code, bytes(exchange.body), self._success_codes, charset=answer.charset_encoding
        )

    async def _token(self) -> str:
        """Returns the token. Concurrent senders share one login: if it fails, each of them gets LoginFailed."""
        if self._login is None:
            self._login = asyncio.create_task(self._log_in())
            self._login.add_done_callback(self._drop_failed)
        return await asyncio.shield(self._login)

    def _drop_failed(self, login: asyncio.Task[str]) -> None:
        if login.cancelled() or login.exception() is not None:  # noqa: LOG004 - a task's exception, not a logger's
            self._login = None

    def _forget(self, token: str) -> None:
        """Drops this token if it is still the current one. A concurrent sender may have fetched a new one."""
        login = self._login
        if login is not None and login.done() and login.result() == token:
            self._login = None

    async def _log_in(self) -> str:
        settings = self._settings
        assert settings.akselgate_password is not None
        content = {"username": settings.akselgate_username, "password": settings.akselgate_password.get_secret_value()}
        body = bytearray()
        try:
            async with (
                asyncio.timeout(self.deadline_seconds),
                self._client() as client,
                client.stream("POST", f"{self._address}/login", json=content) as answer,
            ):
                await _read(answer, body)
        except (httpx2.HTTPError, AnswerTooLong, TimeoutError, OSError) as error:
            raise LoginFailed(f"The login at the gateway got no complete answer ({type(error).__name__}).") from error
        token = _token_in(bytes(body), answer.charset_encoding) if answer.is_success else None
        if token is None:
            refused = f"The gateway gave no token for the login (status {answer.status_code})."
            raise LoginFailed(refused + LOGIN_SETTINGS if answer.is_client_error else refused)
        return token

    def _client(self) -> httpx2.AsyncClient:
        """Opens a new connection for each request. After an error on a reused connection, the client could not tell
        whether the request was sent.
        """
        deadline = self.deadline_seconds
        return httpx2.AsyncClient(
            timeout=httpx2.Timeout(deadline, connect=min(CONNECT_SECONDS, deadline), pool=min(POOL_SECONDS, deadline)),
            limits=httpx2.Limits(max_connections=1, max_keepalive_connections=0),
            # No compression: the stored bytes equal the received ones, and a small body cannot unpack into a huge one.
            headers={"Accept-Encoding": "identity"},
            verify=tls(),
            trust_env=False,
            follow_redirects=False,
        )


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


async def _read(answer: httpx2.Response, body: bytearray) -> None:
    """Appends the answer to `body`, which keeps what was read before an error. Raises AnswerTooLong."""
    async for part in answer.aiter_bytes():
        body += part
        if len(body) > ANSWER_BYTES:
            raise AnswerTooLong(f"more than {ANSWER_BYTES} bytes")


def _token_in(body: bytes, charset: str | None) -> str | None:
    _, answer = read_object(body, charset)
    data = (answer or {}).get("data")
    token = data.get("token") if isinstance(data, dict) else None
    return token if isinstance(token, str) and _fits_a_header(token) else None


def _fits_a_header(token: str) -> bool:
    return token.isascii() and token.isprintable() and bool(token.strip())
