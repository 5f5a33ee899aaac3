"""Hosts of organisations and retired hosts serve public verification only."""

from collections.abc import Collection
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from qrtrack.routers.http_problems import FRAMEWORK_PROBLEMS
from qrtrack.routers.problems import problem
from qrtrack.routers.verification.pages import PREFIXES

SERVED: Final = (*PREFIXES, "/api/verify", "/api/redeem", "/api/report")


class VerificationHosts:
    """Refuses all other addresses on these hosts. Behind a proxy, the proxy passes on the header `Host`."""

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self.app = app
        self.hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._is_refused(scope):
            await self.app(scope, receive, send)
            return
        slug, title, _ = FRAMEWORK_PROBLEMS[404]
        await problem(404, slug, title, "This host serves the verification of products only.")(scope, receive, send)

    def _is_refused(self, scope: Scope) -> bool:
        if scope["path"].startswith(SERVED):
            return False
        host = Headers(scope=scope).get("Host", "").lower()
        return host.removesuffix(":443").removesuffix(":80").rstrip(".") in self.hosts
