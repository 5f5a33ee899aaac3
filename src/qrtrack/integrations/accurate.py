"""Renews the webhook subscription at Accurate's account host."""

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Final, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import httpx2
import structlog

from qrtrack.domain.errors import UpstreamFailed
from qrtrack.logs import MASK
from qrtrack.settings.addresses import BASE, is_address
from qrtrack.settings.values import is_of_this_machine

RENEW_PATH: Final = "/api/webhook-renew.do"
TOKEN_PATH: Final = "/api/api-token.do"  # noqa: S105 - a path
DATE: Final = "%d/%m/%Y"
TIMESTAMP: Final = "%d/%m/%Y %H:%M:%S"
# Accurate compares X-Api-Timestamp with its own clock. ACCURATE_TIMEZONE does not matter here.
JAKARTA: Final = ZoneInfo("Asia/Jakarta")
ANSWER_LENGTH: Final = 200
NOT_FOUND: Final = 404

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Account:
    """The credentials of one account. API tokens also need the signature secret of their application; OAuth tokens do
    not.
    """

    base_url: str
    token: str = field(repr=False)
    signature_secret: str | None = field(default=None, repr=False)
    encoding: Literal["base64", "hex"] = "base64"

    def headers(self, now: datetime) -> dict[str, str]:
        """Returns the headers of one request. The signature includes the time of the request."""
        headers = {"Authorization": f"Bearer {self.token}"}
        if self.signature_secret is not None:
            stamp = now.astimezone(JAKARTA).strftime(TIMESTAMP)
            signature = hmac.digest(self.signature_secret.encode(), stamp.encode(), hashlib.sha256)
            written = signature.hex() if self.encoding == "hex" else base64.b64encode(signature).decode()
            headers |= {"X-Api-Timestamp": stamp, "X-Api-Signature": written}
        return headers

    def shown(self, text: str) -> str:
        """Returns the beginning of an answer, for logs and the database. Secrets are masked, since some hosts echo the
        request.
        """
        for secret in (self.token, self.signature_secret):
            text = text.replace(secret, MASK) if secret else text
        return text.replace("\0", "")[:ANSWER_LENGTH]


async def renew_subscription(client: httpx2.AsyncClient, account: Account, *, zone: ZoneInfo) -> date:
    """Returns the new expiry date. Raises UpstreamFailed without an answer, and for every answer except `s: true` with
    a future date.

    Calls the account host. If that answers 404, calls the host of the API token's database.
    """
    host = None if account.signature_secret is None else await _database_host(client, account)
    answer = await _post(client, account, account.base_url + RENEW_PATH)
    if answer.status_code == NOT_FOUND and host is not None:
        answer = await _post(client, account, host + RENEW_PATH)
    expires_on = _expiry(_parsed(answer.text)) if answer.is_success else None
    if expires_on is None or expires_on <= datetime.now(zone).date():
        shown = f"{answer.status_code} {account.shown(answer.text)}"
        raise UpstreamFailed(f"Accurate did not renew the subscription: it answered {shown}")
    return expires_on


async def _post(client: httpx2.AsyncClient, account: Account, url: str) -> httpx2.Response:
    try:
        return await client.post(url, headers=account.headers(datetime.now(UTC)))
    except httpx2.HTTPError as error:
        raise UpstreamFailed(f"The connection to Accurate failed ({type(error).__name__}).") from error


async def _database_host(client: httpx2.AsyncClient, account: Account) -> str | None:
    """Returns the host of the token's database. None if Accurate names no host, or a host that must not receive the
    token. Raises UpstreamFailed when the connection to Accurate fails.
    """
    answer = await _post(client, account, account.base_url + TOKEN_PATH)
    match _parsed(answer.text) if answer.is_success else None:
        case {"s": True, "d": {"database": {"host": str(host)}} | {"host": str(host)}}:
            host = host.rstrip("/")
        case _:
            log.warning(
                "Accurate did not name the host of the API token's database: only the account host is asked to renew",
                status=answer.status_code,
            )
            return None
    if not may_receive_token(host, account.base_url):
        log.warning(
            "Accurate names a host outside its own domain: the API token is not sent there", host=account.shown(host)
        )
        return None
    return host


def may_receive_token(host: str, base_url: str) -> bool:
    """Returns True for https hosts in the domain of the account host (for account.accurate.id: accurate.id and below).
    A stand-in on this machine may also name another port of this machine.
    """
    if not is_address(host, BASE) or urlsplit(host).path:
        return False
    if is_of_this_machine(base_url):
        return is_of_this_machine(host)
    name, own = urlsplit(host).hostname or "", urlsplit(base_url).hostname or ""
    domain = own.partition(".")[2]
    is_same_domain = name == own or ("." in domain and name.endswith(f".{domain}"))
    return urlsplit(host).scheme == "https" and is_same_domain


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _expiry(answer: Any) -> date | None:
    if not isinstance(answer, dict) or answer.get("s") is not True or not isinstance(answer.get("d"), str):
        return None
    try:
        return datetime.strptime(answer["d"], DATE).date()  # noqa: DTZ007 - a date has no zone
    except ValueError:
        return None
