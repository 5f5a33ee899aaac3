"""Serves the console's modules to browsers on its own socket: a blank page with the console's policy, a page of another
front end without a policy, the modules, and an API that answers as the test says.
"""

import mimetypes
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import qrtrack
from endpoint import Endpoint, Received, answer, open_endpoint

STATIC = Path(qrtrack.__file__).parent / "console/static"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
BLANK = '<!DOCTYPE html><html lang="en"><title>blank</title><link rel="icon" href="data:,"><body>'

Reply = Callable[[Received], bytes | Awaitable[bytes]]


@dataclass
class Site:
    """The site. `files`: folders and texts by the beginning of their paths. `api` answers the paths below /api."""

    endpoint: Endpoint
    api: Reply = lambda _request: answer(404)
    files: dict[str, Path | str] = field(default_factory=lambda: {"/console/static/": STATIC})

    @property
    def url(self) -> str:
        return self.endpoint.url

    @property
    def plant_url(self) -> str:
        """The address by a name that is no loopback address: browsers do not treat it as a secure context."""
        return f"http://plant.test:{self.endpoint.port}"

    @property
    def requests(self) -> list[Received]:
        return [request for request in self.endpoint.received if request.path.startswith("/api/")]

    def reply(self, request: Received) -> bytes | Awaitable[bytes]:
        if request.path.startswith("/api/"):
            return self.api(request)
        if request.path == "/":
            return answer(200, BLANK, content_type="text/html", content_security_policy=POLICY)
        if request.path == "/elsewhere":
            return answer(200, BLANK, content_type="text/html")
        return asset(request.path, self.files)


def asset(path: str, files: Mapping[str, Path | str]) -> bytes:
    for beginning, found in files.items():
        if path.startswith(beginning):
            body = found if isinstance(found, str) else (found / path.removeprefix(beginning)).read_text()
            media_type = mimetypes.guess_type(path)[0] or "text/plain"
            return answer(200, body, content_type=f"{media_type}; charset=utf-8")
    return answer(404)


@asynccontextmanager
async def open_site() -> AsyncIterator[Site]:
    async with open_endpoint() as endpoint:
        site = Site(endpoint)
        endpoint.reply = site.reply
        yield site
