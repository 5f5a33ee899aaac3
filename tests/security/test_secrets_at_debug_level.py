"""Whatever a real server writes at debug level, answers to a refused request or counts: no secret is in it.

Every secret setting is planted, and so are tokens, keys and account numbers of requests that succeed and that fail.
"""

import base64
import json
import re
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus
from uuid import uuid4

import asyncpg
import httpx2
import pytest
from sqlalchemy import make_url

from accurate import DATABASE, event
from every_route import FOR_ANYBODY, FOR_MACHINES, FOR_USERS, NO_THINGS
from process import serving, settings_of
from qrtrack.domain.akselgate.faults import Fault
from qrtrack.domain.identity import Role
from qrtrack.integrations.tokens import sign_token
from qrtrack.runtime import Runtime
from qrtrack.sandbox import TOKEN, Sandbox, Scripted
from qrtrack.settings import Settings
from treasury import rows

API = "/api/manufacturer"
ORGANISATION = uuid4()
ACCOUNTS = ("99887766554433", "11223344556677")
IN_SETTINGS = (
    "JWT_SECRET", "SECRET_KEY", "CRON_SECRET", "WORKER_SECRET", "METRICS_TOKEN", "ACCURATE_WEBHOOK_TOKEN",
    "ACCURATE_API_TOKEN", "ACCURATE_SIGNATURE_SECRET", "ACCURATE_FORWARD_SECRET", "AKSELGATE_PASSWORD", "NOTIFY_SECRET",
)  # fmt: skip
IN_ADDRESSES = ("SMTP_URL", "DATABASE_URL")
IN_REQUESTS = (
    "a wrong token", "a wrong secret", "a cookie", "a key", "a value", "a half body", "a query", "a path",
    "a wrong webhook token", "a callback token", "basic",
)  # fmt: skip


def test_every_secret_of_the_settings_is_planted() -> None:
    secret = {name.upper() for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    assert secret | {"DATABASE_URL"} == {*IN_SETTINGS, *IN_ADDRESSES}


def spellings(secret: str) -> Iterator[str]:
    """As it is, in addresses, in JSON, and inside a text in base64, at whichever of three places it begins."""
    yield from (secret, quote(secret), quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1])
    for shift in range(3):
        encoded = base64.b64encode(b"x" * shift + secret.encode()).decode()
        core = encoded[4 if shift else 0 : -4]
        yield from (core, core.replace("+", "-").replace("/", "_"))


def test_a_secret_is_found_in_any_spelling() -> None:
    secret = 'kE9/+"%=' + secrets.token_urlsafe(16)
    for prefix in ("", "u", "us", "use"):
        text = f"{prefix}{secret}"
        for spelt in (base64.b64encode(text.encode()), base64.urlsafe_b64encode(text.encode()), quote(text).encode()):
            assert any(form in spelt.decode() for form in spellings(secret))


@dataclass
class Site:
    client: httpx2.AsyncClient
    gateway: Sandbox
    planted: Mapping[str, str]
    log: Path
    refusals: list[httpx2.Response] = field(default_factory=list)

    async def call(self, method: str, path: str, **arguments: Any) -> httpx2.Response:
        answer = await self.client.request(method, path, **arguments)
        assert answer.status_code != 500, answer.text
        if answer.status_code >= 400:
            self.refusals.append(answer)
        return answer

    def found_in(self, text: str) -> list[str]:
        return [name for name, secret in self.planted.items() if any(form in text for form in spellings(secret))]


@pytest.fixture
def planted() -> dict[str, str]:
    """Some with characters that addresses and JSON spell in another way."""
    plain = {name: secrets.token_urlsafe(32) for name in (*IN_ADDRESSES, *IN_REQUESTS)}
    odd = {name: f'{secrets.token_urlsafe(32)}/+"%=' for name in IN_SETTINGS}
    signing = {name: base64.b64encode(secrets.token_bytes(32)).decode() for name in IN_SETTINGS if "_SECRET" in name}
    return plain | odd | {name: signing[name] for name in ("ACCURATE_FORWARD_SECRET", "NOTIFY_SECRET")}


@pytest.fixture
async def settings(migrated_url: str, tmp_path: Path, planted: dict[str, str]) -> Settings:
    """With the SECRET_KEY of the server: a database takes one only."""
    driver = await asyncpg.connect(migrated_url.replace("+asyncpg", ""))
    try:
        await driver.execute("DELETE FROM secret_key_fingerprint")
    finally:
        await driver.close()
    return settings_of(migrated_url, tmp_path, secret_key=planted["SECRET_KEY"])


@pytest.fixture(params=["production", "development"])
async def site(
    request: pytest.FixtureRequest, tmp_path: Path, migrated_url: str, runtime: Runtime, planted: dict[str, str]
) -> AsyncIterator[Site]:
    assert runtime.settings.secret_key is not None
    gateway = Sandbox(callback_seconds=None)
    await gateway.start()
    database = make_url(migrated_url).set(password=planted["DATABASE_URL"]).render_as_string(hide_password=False)
    settings = {name: planted[name] for name in IN_SETTINGS} | {
        "DATABASE_URL": database,
        "SMTP_URL": f"smtp://plant:{planted['SMTP_URL']}@127.0.0.1:9",
        "SMTP_FROM": "no-reply@plant.example",
        "QRTRACK_ENV": request.param,
        "LOG_LEVEL": "debug",
        "ACCURATE_DATABASES": f"{DATABASE}={ORGANISATION}",
        "ACCURATE_FORWARD_URL": "http://127.0.0.1:9/events",
        "ACCURATE_ACCOUNT_URL": "http://127.0.0.1:9",
        "AKSELGATE_BASE_URL": gateway.address,
        "AKSELGATE_USERNAME": "plant",
        "AKSELGATE_ORGANISATION": str(ORGANISATION),
        "AKSELGATE_AMOUNT_SCALE": "0",
        "NOTIFY_ALLOWED_HOSTS": "hooks.plant.invalid",
        "JWT_JWKS_URL": "http://127.0.0.1:9/jwks.json",
    }
    token = sign_token(planted["JWT_SECRET"], organisation_id=ORGANISATION, user_id="u", roles=list(Role), hours=1)
    planted |= {"the token's signature": token.rpartition(".")[2], "the gateway's token": TOKEN}
    headers = {"Authorization": f"Bearer {token}", "Cookie": f"session={planted['a cookie']}"}
    try:
        with serving(tmp_path, **settings) as address:
            async with httpx2.AsyncClient(base_url=address, headers=headers, trust_env=False, timeout=30) as client:
                yield Site(client, gateway, planted, tmp_path / "log")
    finally:
        await gateway.stop()


async def a_batch(site: Site) -> tuple[list[str], str]:
    """The root keys of a batch whose end is told by mail and by a call that both fail; and its id."""
    order = {
        "order_id": str(uuid4()), "product_name": "Gold", "quantity": 5, "serial_prefix": "SKA",
        "notify": {"email": "a@b.example", "url": f"https://hooks.plant.invalid/?token={site.planted['a query']}"},
    }  # fmt: skip
    made = await site.call("POST", f"{API}/batches", json=order, headers={"Idempotency-Key": site.planted["a key"]})
    batch_id = made.json()["batch_id"]
    give_up = time.monotonic() + 60
    while (await site.call("GET", f"{API}/batches/{batch_id}")).json()["batch"]["status"] != "ready":
        assert time.monotonic() < give_up
    revealed = await site.call("GET", f"{API}/batches/{batch_id}/codes", params={"reveal": "root_key"})
    keys = [code["root_key"] for code in revealed.json()["codes"]]
    await checks_by_consumers(site, made.json()["uniq_code"], keys[0])
    return keys, batch_id


async def checks_by_consumers(site: Site, uniq_code: str, key: str) -> None:
    """The right key and a wrong one, over the API and in the form of the page."""
    for typed in (key, site.planted["a value"]):
        for path in ("/api/verify", "/api/redeem"):
            await site.call("POST", path, json={"uniq_code": uniq_code, "root_key": typed})
        for path in (f"/q/{uniq_code}", f"/Q/{uniq_code}/SKA000001"):
            await site.call("POST", path, data={"action": "check", "root_key": typed})


async def every_route_well_and_badly(site: Site) -> None:
    planted = site.planted
    keyed = {"Idempotency-Key": planted["a key"]}
    wrong = [
        {"Authorization": f"Bearer {planted['a wrong token']}"},
        {"Authorization": f"Basic {base64.b64encode(planted['basic'].encode()).decode()}"},
        {"X-Webhook-Token": planted["a wrong webhook token"]},
    ]
    for route in FOR_USERS + FOR_ANYBODY:
        path, arguments = NO_THINGS.request(route)
        for headers in (keyed, *wrong):
            await site.call(route.method, path, headers=headers, **arguments)
        await site.call(route.method, path, params={"token": planted["a query"], "q": planted["a query"]})
        if route.method == "POST":
            await site.call("POST", path, json={"note": planted["a value"], "root_key": planted["a value"]})
            half = f'{{"password": "{planted["a half body"]}'
            await site.call("POST", path, content=half, headers={"Content-Type": "application/json"})
    for route in FOR_MACHINES:
        for secret in ("CRON_SECRET", "WORKER_SECRET", "METRICS_TOKEN", "a wrong secret"):
            headers = {"Authorization": f"Bearer {planted[secret]}"}
            await site.call(route.method, route.path, params=dict(route.query), headers=headers)
    for path in (f"/{planted['a path']}", f"{API}/{planted['a path']}", f"{API}/batches/{planted['a path']}"):
        await site.call("GET", path, params={"password": planted["a query"]})


async def other_systems(site: Site) -> None:
    planted = site.planted
    for token in (planted["ACCURATE_WEBHOOK_TOKEN"], planted["a wrong webhook token"]):
        for given in (
            {"params": {"token": token}}, {"headers": {"X-Webhook-Token": token}},
            {"headers": {"Authorization": f"Bearer {token}"}},
        ):  # fmt: skip
            await site.call("POST", "/webhook/accurate", json=[event(), {"apiKey": planted["a value"]}], **given)
            await site.call("POST", "/webhook/accurate", content=b"{", **given)
    await site.call("GET", f"/webhook/akselgate/callback/{planted['a callback token']}?ref=R&rescore=00&rescoreref=B")


async def dispatches(site: Site) -> None:
    named = json.dumps({"responseCode": "99", "responseMessage": f"Account {ACCOUNTS[0]} of {ACCOUNTS[1]} is closed"})
    answers = (Fault.NONE, Fault.ERROR, Fault.REJECT, Fault.DUPLICATE, Fault.RESET, Scripted(400, named.encode()))
    site.gateway.faults.extend(answers)
    for number in range(len(answers)):
        paid = [
            row | {"debitAccount": ACCOUNTS[0], "creditAccount": ACCOUNTS[1]}
            for row in rows(f"REF{number}A", f"REF{number}B")
        ]
        order = {"transaction_type": "CA_ESCROW", "kd_settle": f"STL{number}", "transactions": paid}
        for _ in range(2):
            await site.call("POST", "/api/akselgate/dispatch", json=order)
        bad = order | {"transactions": [paid[0] | {"amount": 1.5, "creditAccount": f"{ACCOUNTS[1]}x"}]}
        await site.call("POST", "/api/akselgate/dispatch", json=bad)
    for request in site.gateway.requests:
        callback = json.loads(request.body)["data"][0]["callback_url"]
        token = callback.rpartition("/")[2]
        await site.call("GET", f"/webhook/akselgate/callback/{token}?ref=REF0A&rescore=00&rescoreref=B1")
        site.planted = {**site.planted, f"callback token {len(site.planted)}": token}


async def a_database_that_goes_away(site: Site, runtime: Runtime) -> None:
    """Failures inside the database, of which libraries like to tell a lot."""
    url = make_url(str(runtime.settings.database_url)).set(drivername="postgresql").render_as_string()
    driver = await asyncpg.connect(url)
    try:
        for _ in range(3):
            await driver.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND datname = current_database() AND backend_type = 'client backend'"
            )
            await site.call("GET", f"{API}/batches")
    finally:
        await driver.close()
        # The test's own connections ended with the others.
        await runtime.database.engine.dispose()


async def test_no_secret_is_written_answered_or_counted(site: Site, runtime: Runtime) -> None:
    keys, batch_id = await a_batch(site)
    await every_route_well_and_badly(site)
    await other_systems(site)
    await dispatches(site)
    await site.call("POST", f"{API}/codes/void", json={"batch_id": batch_id, "codes": keys, "reason": "torn"})
    await a_database_that_goes_away(site, runtime)
    watcher = {"Authorization": f"Bearer {site.planted['METRICS_TOKEN']}"}
    counted = [await site.call("GET", path, headers=watcher) for path in ("/metrics", "/readyz")]
    text = until_told(site.log, "mail server cannot be reached", "name cannot be resolved", "/metrics")

    assert site.found_in(text) == []
    assert site.found_in("".join(answer.text + str(answer.headers) for answer in counted)) == []
    assert [account for account in ACCOUNTS if account in text] == []
    assert [key for key in keys if re.search(rf"\b{key}\b", text)] == []
    assert len(site.refusals) > 200
    for answer in site.refusals:
        told = answer.text + str(answer.headers)
        # A thing that was asked for by its code or name may be named again to whoever asked.
        assert site.found_in(told) == [], (answer.request.url.path, answer.text)
        assert [account for account in ACCOUNTS if account in told] == [], answer.text


def until_told(log: Path, *words: str) -> str:
    give_up = time.monotonic() + 60
    while not all(word in (text := log.read_text()) for word in words):
        assert time.monotonic() < give_up, [word for word in words if word not in text]
        time.sleep(0.1)
    return text
