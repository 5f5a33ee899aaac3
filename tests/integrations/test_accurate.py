"""Renewal with an API token, against a stand-in of Accurate's account host that checks what Accurate checks."""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

import pytest
from structlog.testing import capture_logs

from endpoint import Endpoint, Received, answer, open_endpoint
from qrtrack.domain.errors import UpstreamFailed
from qrtrack.integrations.accurate import Account, may_receive_token, renew_subscription
from qrtrack.integrations.http import http_client
from ticking import HANG_SECONDS

JAKARTA = ZoneInfo("Asia/Jakarta")
TOKEN = "aat.NTA.eyJ2IjoxLCJ1Ijo"
SECRET = "the-signature-secret-of-the-application"
RENEW, API_TOKEN = "/api/webhook-renew.do", "/api/api-token.do"
ENCODERS: dict[str, Callable[[bytes], str]] = {
    "base64": lambda digest: base64.b64encode(digest).decode(),
    "hex": bytes.hex,
}


class AccountHost:
    """Refuses a wrong token, timestamp or signature, as Accurate does. Otherwise gives the configured answer."""

    def __init__(self, endpoint: Endpoint, encoding: str = "base64") -> None:
        self.endpoint, self.encoding = endpoint, encoding
        self.answers: dict[str, bytes] = {RENEW: answer(200, json.dumps({"s": True, "d": day(7)}))}
        self.refusals: list[str] = []
        endpoint.reply = self.reply

    def reply(self, request: Received) -> bytes:
        complaint = self.complaint(request.headers)
        if complaint is not None:
            self.refusals.append(complaint)
            return answer(200, json.dumps({"s": False, "d": [complaint]}))
        return self.answers.get(request.path, answer(404, '{"s": false, "d": ["URL API tidak tepat"]}'))

    def complaint(self, headers: dict[str, str]) -> str | None:
        stamp = headers.get("x-api-timestamp", "")
        if headers.get("authorization") != f"Bearer {TOKEN}":
            return "token"
        if not re.fullmatch(r"\d\d/\d\d/\d{4} \d\d:\d\d:\d\d", stamp, re.ASCII):
            return "timestamp"
        sent_at = datetime.strptime(stamp, "%d/%m/%Y %H:%M:%S").replace(tzinfo=JAKARTA)
        if abs(datetime.now(UTC) - sent_at) > timedelta(minutes=1):
            return "clock"
        digest = hmac.digest(SECRET.encode(), stamp.encode(), hashlib.sha256)
        return None if headers.get("x-api-signature") == ENCODERS[self.encoding](digest) else "signature"

    @property
    def paths(self) -> list[str]:
        return [request.path for request in self.endpoint.received]

    def names(self, data: Any) -> None:
        self.answers[API_TOKEN] = answer(200, json.dumps({"s": True, "d": data}))


def day(days: int) -> str:
    return f"{datetime.now(JAKARTA) + timedelta(days=days):%d/%m/%Y}"


@pytest.fixture
async def hosts() -> AsyncIterator[tuple[AccountHost, AccountHost]]:
    """The account host, and the host of a database."""
    async with AsyncExitStack() as stack:
        account, database = [AccountHost(await stack.enter_async_context(open_endpoint())) for _ in range(2)]
        account.names({"database": {"id": 1443290, "host": database.endpoint.url}})
        yield account, database


Hosts = tuple[AccountHost, AccountHost]


async def renew(host: AccountHost, secret: str | None = SECRET, encoding: Literal["base64", "hex"] = "base64") -> date:
    async with http_client(timeout=HANG_SECONDS) as client:
        return await renew_subscription(client, Account(host.endpoint.url, TOKEN, secret, encoding), zone=JAKARTA)


def in_a_week() -> date:
    return (datetime.now(JAKARTA) + timedelta(days=7)).date()


@pytest.mark.parametrize("encoding", ["base64", "hex"])
async def test_every_request_of_an_api_token_is_signed(hosts: Hosts, encoding: Literal["base64", "hex"]) -> None:
    account, database = hosts
    account.encoding = encoding
    assert await renew(account, encoding=encoding) == in_a_week()
    assert (account.paths, account.refusals, database.paths) == ([API_TOKEN, RENEW], [], [])


@pytest.mark.parametrize(
    ("secret", "encoding", "complaint"),
    [(SECRET, "hex", "signature"), ("another", "base64", "signature"), (None, "base64", "timestamp")],
)
async def test_the_stand_in_refuses_what_accurate_refuses(
    hosts: Hosts, secret: str | None, encoding: Literal["base64", "hex"], complaint: str
) -> None:
    """Without this, the test above proves nothing. The error quotes Accurate's answer."""
    account, _ = hosts
    with pytest.raises(UpstreamFailed, match=complaint):
        await renew(account, secret, encoding)
    assert set(account.refusals) == {complaint}


@pytest.mark.parametrize("form", ["database", "plain", "slash"])
async def test_after_a_404_of_the_account_host_the_database_host_is_called(hosts: Hosts, form: str) -> None:
    account, database = hosts
    url = database.endpoint.url
    account.names({"database": {"host": url}, "plain": {}} if form == "database" else {"host": url})
    if form == "slash":
        account.names({"database": {"id": 5}, "host": f"{url}/"})
    del account.answers[RENEW]
    assert await renew(account) == in_a_week()
    assert (account.paths, database.paths, database.refusals) == ([API_TOKEN, RENEW], [RENEW], [])


@pytest.mark.parametrize(
    "reply",
    [
        answer(404), answer(500, "no"), answer(200, "no"), answer(200, "[]"), answer(200, '{"s": true, "d": null}'),
        answer(200, '{"s": true, "d": {"host": 5}}'), answer(200, '{"s": true, "d": {"database": {}}}'),
        answer(200, '{"s": false, "d": {"host": "https://zeus.accurate.id"}}'), answer(200, '{"s": true, "d": "x"}'),
        answer(302, location="https://evil.example/api/api-token.do"),
    ],
)  # fmt: skip
async def test_without_a_database_host_only_the_account_host_is_called(hosts: Hosts, reply: bytes) -> None:
    account, database = hosts
    account.answers[API_TOKEN] = reply
    assert await renew(account) == in_a_week()
    del account.answers[RENEW]
    with pytest.raises(UpstreamFailed, match="404"):
        await renew(account)
    assert database.paths == []


async def test_a_foreign_host_never_receives_the_token(hosts: Hosts) -> None:
    account, database = hosts
    account.names({"database": {"host": f"{database.endpoint.url}@evil.example {TOKEN}"}})
    del account.answers[RENEW]
    with capture_logs() as logs, pytest.raises(UpstreamFailed):
        await renew(account)
    assert database.paths == []
    assert any("not sent there" in line["event"] for line in logs)
    assert TOKEN not in repr(logs)


@pytest.mark.parametrize(
    ("host", "base_url", "may"),
    [
        ("https://zeus.accurate.id", "https://account.accurate.id", True),
        ("https://account.accurate.id", "https://account.accurate.id", True),
        ("https://a.b.accurate.id:8443", "https://account.accurate.id", True),
        ("https://ZEUS.Accurate.ID", "https://account.accurate.id", True),
        ("http://zeus.accurate.id", "https://account.accurate.id", False),
        ("https://evil.example", "https://account.accurate.id", False),
        ("https://accurate.id.evil.example", "https://account.accurate.id", False),
        ("https://evilaccurate.id", "https://account.accurate.id", False),
        ("https://accurate.id", "https://account.accurate.id", False),
        ("https://zeus.accurate.id@evil.example", "https://account.accurate.id", False),
        ("https://evil.example#.accurate.id", "https://account.accurate.id", False),
        ("https://evil.example\\.accurate.id", "https://account.accurate.id", False),
        ("https://zeus.accurate.id/path", "https://account.accurate.id", False),
        ("https://zeus.accurate.id\n", "https://account.accurate.id", False),
        ("zeus.accurate.id", "https://account.accurate.id", False),
        ("https://127.0.0.1", "https://account.accurate.id", False),
        ("https://169.254.169.254", "https://account.accurate.id", False),
        ("https://other.id", "https://accurate.id", False),
        ("", "https://account.accurate.id", False),
        ("http://127.0.0.1:9", "http://127.0.0.1:8", True),
        ("https://evil.example", "http://127.0.0.1:8", False),
    ],
)
def test_only_hosts_of_accurate_receive_the_token(host: str, base_url: str, *, may: bool) -> None:
    assert may_receive_token(host, base_url) is may


@pytest.mark.parametrize("location", ["/elsewhere", "https://evil.example/api/webhook-renew.do"])
async def test_a_redirect_is_a_failure_and_is_not_followed(hosts: Hosts, location: str) -> None:
    account, database = hosts
    account.answers[RENEW] = answer(307, location=location)
    with pytest.raises(UpstreamFailed, match="307"):
        await renew(account)
    assert (account.paths, database.paths) == ([API_TOKEN, RENEW], [])


async def test_an_unreachable_account_host_is_reported() -> None:
    async with http_client(timeout=HANG_SECONDS) as client:
        with pytest.raises(UpstreamFailed, match="connection to Accurate failed"):
            await renew_subscription(client, Account("http://127.0.0.1:9", TOKEN, SECRET), zone=JAKARTA)


@pytest.mark.parametrize(
    ("encoding", "signature"),
    [
        ("base64", "4Wazqufsmhq+NuJASJOcxNGyJAxdnuM9Nvaqu4ARBaA="),
        ("hex", "e166b3aae7ec9a1abe36e24048939cc4d1b2240c5d9ee33d36f6aabb801105a0"),
    ],
)
def test_the_signature_covers_the_time_in_jakarta(encoding: Literal["base64", "hex"], signature: str) -> None:
    """Expected value: `printf %s '21/11/2026 10:00:00' | openssl dgst -sha256 -hmac secret`."""
    account = Account("https://account.accurate.id", TOKEN, "secret", encoding)
    for now in (datetime(2026, 11, 21, 3, 0, tzinfo=UTC), datetime(2026, 11, 21, 10, 0, tzinfo=JAKARTA)):
        assert account.headers(now) == {
            "Authorization": f"Bearer {TOKEN}",
            "X-Api-Timestamp": "21/11/2026 10:00:00",
            "X-Api-Signature": signature,
        }
