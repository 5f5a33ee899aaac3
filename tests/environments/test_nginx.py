"""The configuration of nginx in docs/deploying.md, run by a real nginx before an endpoint that notes what comes."""

import asyncio
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from endpoint import Endpoint, open_endpoint
from process import free_port
from ticking import HANG_SECONDS

PAGE = (Path(__file__).parents[2] / "docs/deploying.md").read_text()
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
pytestmark = pytest.mark.skipif(NGINX is None, reason="needs nginx (Debian: nginx-light)")
CONNECTIONS = 20
HEAD = b"Host: qrtrack.example\r\nConnection: close\r\n"


@dataclass(frozen=True)
class Proxy:
    port: int
    behind: Endpoint

    async def told(self, *parts: bytes) -> bytes:
        """Everything that nginx says until it closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
            async with asyncio.timeout(HANG_SECONDS):
                return await reader.read()
        finally:
            writer.close()


def configuration(folder: Path, port: int, upstream: int) -> str:
    """The page's own lines, but for the port, the certificate, the waits and the number of connections."""
    (site,) = re.findall(r"```nginx\n(limit_conn_zone.*?)\n```", PAGE, re.DOTALL)
    site = re.sub(r"\n *ssl_certificate\S* .*", "", site).replace("listen 443 ssl", f"listen 127.0.0.1:{port}")
    site = site.replace("server 127.0.0.1:8001; server 127.0.0.1:8002;", f"server 127.0.0.1:{upstream};")
    site = re.sub(r"(client_header_timeout|client_body_timeout) \d+s", r"\1 1s", site)
    site = re.sub(r"limit_conn addresses \d+", f"limit_conn addresses {CONNECTIONS}", site)
    user = "user root;" if os.geteuid() == 0 else ""
    paths = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return (
        f"{user} daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}"
        f" http {{ access_log off; {paths} {site} }}"
    )


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[Proxy]:
    assert NGINX is not None
    async with open_endpoint() as behind:
        port, file = free_port(), tmp_path / "nginx.conf"
        file.write_text(configuration(tmp_path, port, behind.port))
        words = [NGINX, "-e", str(tmp_path / "error.log"), "-c", str(file)]
        tried = subprocess.run([*words, "-t"], capture_output=True, text=True, check=False)
        assert tried.returncode == 0, tried.stderr
        process = await asyncio.create_subprocess_exec(*words, stderr=asyncio.subprocess.DEVNULL)
        try:
            await listening(port)
            yield Proxy(port, behind)
        finally:
            process.terminate()
            await process.wait()


async def listening(port: int) -> None:
    async with asyncio.timeout(HANG_SECONDS):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


async def test_a_request_goes_through_with_the_address_of_its_client(proxy: Proxy) -> None:
    assert (await proxy.told(b"GET /healthz HTTP/1.1\r\n" + HEAD + b"\r\n")).startswith(b"HTTP/1.1 200")
    (request,) = proxy.behind.received
    assert request.headers["x-forwarded-for"] == "127.0.0.1"
    assert re.fullmatch(r"[0-9a-f]{32}", request.headers["x-request-id"])


@pytest.mark.parametrize("path", [b"/metrics", b"/readyz"])
async def test_figures_are_not_for_the_outside(proxy: Proxy, path: bytes) -> None:
    assert (await proxy.told(b"GET " + path + b" HTTP/1.1\r\n" + HEAD + b"\r\n")).startswith(b"HTTP/1.1 404")
    assert proxy.behind.received == []


async def test_slow_clients_never_reach_the_service(proxy: Proxy) -> None:
    half = b"POST /webhook/accurate HTTP/1.1\r\n" + HEAD
    connections = len(proxy.behind.tasks)
    answers = await asyncio.gather(
        *[proxy.told(half) for _ in range(CONNECTIONS // 2)],
        *[proxy.told(half + b"Content-Length: 1000000\r\n\r\n", b"[" * 1000) for _ in range(CONNECTIONS // 2)],
    )
    assert {answer.partition(b"\r\n")[0] for answer in answers} <= {b"", b"HTTP/1.1 408 Request Time-out"}
    assert len(proxy.behind.tasks) == connections


@pytest.mark.parametrize(
    ("path", "length", "status"),
    [
        (b"/api/manufacturer/reverse-job/submit", 17 * 2**20, b"413"),
        (b"/api/manufacturer/batches/import", 129 * 2**20, b"413"),
        (b"/api/manufacturer/batches/import", 3, b"200"),
    ],
)
async def test_bodies_are_capped_before_they_come(proxy: Proxy, path: bytes, length: int, status: bytes) -> None:
    head = b"POST " + path + b" HTTP/1.1\r\n" + HEAD + b"Content-Length: %d\r\n\r\n" % length
    assert (await proxy.told(head, b"abc")).startswith(b"HTTP/1.1 " + status)
    assert len(proxy.behind.received) == (status == b"200")


async def test_too_long_headers_are_refused(proxy: Proxy) -> None:
    filling = b"X-Filling: " + b"x" * 20_000 + b"\r\n"
    assert (await proxy.told(b"GET / HTTP/1.1\r\n" + HEAD + filling + b"\r\n")).startswith(b"HTTP/1.1 400")
    assert proxy.behind.received == []


async def test_one_address_has_so_many_connections_and_no_more(proxy: Proxy) -> None:
    """Nginx counts a connection once its header is there."""
    go = asyncio.Event()

    async def wait(_request: object) -> bytes:
        await go.wait()
        return b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"

    proxy.behind.reply = wait
    request = b"GET / HTTP/1.1\r\n" + HEAD + b"\r\n"
    held = [asyncio.create_task(proxy.told(request)) for _ in range(CONNECTIONS)]
    async with asyncio.timeout(HANG_SECONDS):
        while len(proxy.behind.received) < len(held):
            await asyncio.sleep(0.02)
    assert (await proxy.told(request)).startswith(b"HTTP/1.1 503")
    go.set()
    assert {answer[:12] for answer in await asyncio.gather(*held)} == {b"HTTP/1.1 200"}
