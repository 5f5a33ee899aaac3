"""Addresses that callers name are called on allowed hosts only, and never inside the operator's own network.

How a name is resolved once and the checked address called: tests/services/test_notifications.py.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from certificates import Authority
from endpoint import Received, answer, open_endpoint
from every_route import API, FOR_USERS, Things, things_of
from plant import Plant
from qrtrack.domain.akselgate.faults import Fault
from qrtrack.domain.notifications import Target
from qrtrack.integrations import hooks
from qrtrack.integrations.hooks import HookSender
from qrtrack.settings import Settings
from treasury import Treasury, open_treasury

SIGNING = "whsec_" + "c2lnbmluZy1zZWNyZXQtb2YtdGhlLXRlc3RzLTAxMjM="
ALLOWED = "hooks.plant.example"
LOOPBACK = [
    "127.0.0.1", "127.1", "127.0.1", "127.000.000.001", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1",
    "017700000001", "0", "0.0.0.0", "localhost", "LOCALHOST", "localhost.", "::1", "::ffff:127.0.0.1",
    "::ffff:7f00:1", "0:0:0:0:0:0:0:1", "::",
]  # fmt: skip
INSIDE = [
    "10.0.0.1", "10.1", "167772161", "0xa000001", "172.16.0.1", "192.168.0.1", "169.254.169.254", "2852039166",
    "0xa9fea9fe", "0251.0376.0251.0376", "100.64.0.1", "fd00::1", "fe80::1", "metadata.google.internal",
]  # fmt: skip
REFUSED = [
    *(f"https://{f'[{host}]' if ':' in host else host}/" for host in (*LOOPBACK, *INSIDE)),
    *(f"https://{ALLOWED}{end}" for end in (":80/", ":8443/", ".evil.example/", "@127.0.0.1/", "%2eevil.example/")),
    f"https://evil.example/{ALLOWED}", f"https://user@{ALLOWED}/", f"https://evil.example@{ALLOWED}/",
    f"https://evil.example#@{ALLOWED}/", f"https://evil.example\\@{ALLOWED}/", f"https://{ALLOWED}\\@evil.example/",
    f"https://{ALLOWED}:443@evil.example/", f"https://evil.example?@{ALLOWED}/", f"https://{ALLOWED}\t.evil.example/",
    f"https://{ALLOWED} .evil.example/", f"https://{ALLOWED}./", "https:///evil.example/", f"https:{ALLOWED}",
    f"https:/{ALLOWED}/", f"//{ALLOWED}/", ALLOWED, f"http://{ALLOWED}/", f"HTTP://{ALLOWED}/", f"ftp://{ALLOWED}/",
    f"gopher://{ALLOWED}/_x", f"file://{ALLOWED}/etc/passwd", "file:///etc/passwd", f"dict://{ALLOWED}/x",
    f"ldap://{ALLOWED}/", f"jar:https://{ALLOWED}!/", "data:text/plain,x", "javascript:alert(1)",
    "https://ｈｏｏｋｓ.plant.example/", f"https://{ALLOWED}/\r\nX-Planted: 1", f"https://{ALLOWED}/\n", "https://①②⑦.①/",
    f"https://{ALLOWED}/a b", f"https://{ALLOWED}/é", "https://", "https://[/", "https://[::1", "https://:443/",
]  # fmt: skip
NO_MAILBOXES = [
    "a@b.example\r\nBcc: all@evil.example", "a@b.example,all@evil.example", "a@b.example all@evil.example",
    "<a@b.example>", "A <a@b.example>", "a@[127.0.0.1]", "a@localhost", "a@b.example\0", '"a\r\nBcc: x"@b.example',
    "a@b.example;x@evil.example", "@b.example", "a@", "a", "a@b@c.example", "a@b..example", "é@b.example",
]  # fmt: skip


@pytest.fixture
async def treasury(settings: Settings) -> AsyncIterator[Treasury]:
    channels = {
        "notify_allowed_hosts": ALLOWED, "notify_secret": SIGNING, "smtp_url": "smtp://127.0.0.1:9",
        "smtp_from": "no-reply@plant.example", "public_base_url": "https://qr.plant.example",
    }  # fmt: skip
    async with open_treasury(settings, **channels) as treasury:
        yield treasury


@pytest.fixture
async def things(treasury: Treasury) -> Things:
    return await things_of(Plant(treasury.runtime, treasury.admin))


def orders(things: Things) -> list[tuple[str, dict[str, Any]]]:
    """The requests that may name whom to tell."""
    batch = {"order_id": str(uuid4()), "product_name": "Gold", "quantity": 5, "serial_prefix": "SKB"}
    job: dict[str, Any] = {
        "batch_id": things.names["batch_id"],
        "order_id": things.names["order_id"],
        "exclude_codes": [],
    }
    return [(f"{API}/batches", batch), (f"{API}/reverse-job/submit", job)]


def test_no_other_request_names_an_address() -> None:
    """A new field of that kind fails here until it is tried below."""
    named = [route.id for route in FOR_USERS if {"notify", "url", "callback_url", "webhook"} & set(route.body or ())]
    assert named == [f"POST {API}/batches", f"POST {API}/reverse-job/submit"]


async def test_an_address_elsewhere_is_refused_when_it_is_named(treasury: Treasury, things: Things) -> None:
    client = treasury.client(treasury.admin)
    for path, order in orders(things):
        for url in REFUSED:
            told = await client.post(path, json=order | {"notify": {"url": url}})
            assert told.status_code == 422, (path, url, told.text)
            assert [error["pointer"] for error in told.json()["errors"]] == ["/notify/url"], (path, url)
        for email in NO_MAILBOXES:
            told = await client.post(path, json=order | {"notify": {"email": email}})
            assert told.status_code == 422, (path, email, told.text)
            assert [error["pointer"] for error in told.json()["errors"]] == ["/notify/email"], (path, email)
        sound = {"url": f"https://{ALLOWED}/hook?x=1", "email": "a@b.example"}
        told = await client.post(path, json=order | {"notify": sound})
        assert told.is_success, told.text


@asynccontextmanager
async def nobody_calls() -> AsyncIterator[int]:
    """A port on every address of this machine, which must not be called."""
    calls: list[object] = []

    async def called(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.append(writer)
        writer.close()

    server = await asyncio.start_server(called, "0.0.0.0", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        # A connection that was made is accepted before one that comes later.
        port = server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        while not calls:
            await asyncio.sleep(0.01)
        assert len(calls) == 1


async def test_an_allowed_name_that_means_this_machine_or_its_network_is_not_called() -> None:
    """The operator's list of hosts cannot open the network: the system's own resolver is asked, however it spells it.

    Also where the operator has listed the address itself.
    """
    sender = HookSender(SIGNING)
    async with nobody_calls() as port:
        for host in (*LOOPBACK, *INSIDE, socket.gethostname()):
            delivery = await sender.send("id", Target(host, port, "/"), "{}")
            assert delivery.error in {
                "the host's address is not public", "the host's name cannot be resolved",
            }, (host, delivery)  # fmt: skip
    await sender.close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine counts as public here: the redirect goes to a place that would be reached."""
    authority = Authority(tmp_path)
    monkeypatch.setattr(hooks, "is_public", lambda address: address.is_loopback)
    async with nobody_calls() as port, open_endpoint(authority.server("localhost")) as endpoint:

        def lead_inside(_request: Received) -> bytes:
            return answer(status, Location=f"http://127.0.0.1:{port}/latest/meta-data/")

        endpoint.reply = lead_inside
        sender = HookSender(SIGNING, authority.trusting())
        delivery = await sender.send("id", Target("localhost", endpoint.port, "/"), "{}")
        assert delivery.error == f"the endpoint answered {status}"
        assert len(endpoint.received) == 1
        await sender.close()


async def test_no_header_decides_where_the_bank_calls_back_or_where_links_lead(
    treasury: Treasury, things: Things
) -> None:
    client = treasury.client(treasury.admin)
    names = ("Host", "X-Forwarded-Host", "X-Host", "X-Forwarded-Server")
    client.headers.update(dict.fromkeys(names, "evil.example"))
    client.headers.update({"Forwarded": "host=evil.example", "X-Original-URL": "https://evil.example/"})
    treasury.gateway.faults.append(Fault.NONE)
    for route in FOR_USERS:
        told = await things.send(client, route)
        assert b"evil.example" not in told.content, route.id
        assert "evil.example" not in str(told.headers), route.id
    [request] = treasury.gateway.requests
    assert b"https://qr.plant.example/webhook/akselgate/callback/" in request.body
    assert b"evil.example" not in request.body
