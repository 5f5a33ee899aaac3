"""Identifies who checks: by the network behind the trusted proxies, and by the random cookie of one look."""

import re
import secrets
from typing import Final

from fastapi import Request, Response

from qrtrack.domain.verification.networks import network_of
from qrtrack.routers.client_addresses import came_over_https, client_address
from qrtrack.runtime import Runtime
from qrtrack.services.verification.checks import Visitor

COOKIE: Final = "qrtrack_look"
LOOK_SECONDS: Final = 30 * 60
RANDOM: Final = re.compile(r"[A-Za-z0-9_-]{22}", re.ASCII)


def visitor_of(request: Request, runtime: Runtime) -> Visitor:
    """Returns who checks. For a browser without a cookie it chooses a new value, under which the check is recorded;
    `keep_look` sends the cookie with the answer.
    """
    cookie = request.cookies.get(COOKIE, "")
    address = client_address(request, runtime.settings.trusted_proxies)
    return Visitor(network_of(address), cookie if RANDOM.fullmatch(cookie) else secrets.token_urlsafe(16))


def keep_look(request: Request, response: Response, visitor: Visitor, *, proxies: int) -> None:
    """Sends the cookie, valid for another 30 minutes. The page sends it before the first check: otherwise the two
    requests of a double press would carry no cookie and count as two browsers. Also forbids caching, because the answer
    is about one person's unit.
    """
    response.headers["Cache-Control"] = "no-store"
    response.set_cookie(
        COOKIE,
        visitor.browser,
        max_age=LOOK_SECONDS,
        httponly=True,
        samesite="lax",
        secure=came_over_https(request, proxies),
    )
