"""Finds the address of the caller, and whether the request came over https, behind the proxies of TRUSTED_PROXIES."""

import ipaddress
import re
from functools import lru_cache
from typing import Final

from fastapi import Request

# One entry of X-Forwarded-For, as proxies write it: 203.0.113.7, 203.0.113.7:51008 (Azure), 2001:db8::7,
# [2001:db8::7]:51008, with or without quotes (RFC 7239). The zone of a link-local address is ignored: it is local.
HOP: Final = re.compile(
    r"""(?P<quote>"?)(?:\[(?P<bracketed>[0-9a-f:.]+)(?:%[^\]"]+)?\](?::[0-9]{1,5})?
    |(?P<four>[0-9.]+)(?::[0-9]{1,5})?|(?P<six>[0-9a-f]*:[0-9a-f:.]+)(?:%[^\]":]+)?)(?P=quote)""",
    re.ASCII | re.IGNORECASE | re.VERBOSE,
)
HOP_LENGTH: Final = 100


def client_address(request: Request, proxies: int) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Returns the caller's address behind this number of trusted proxies, or None if the request bypassed them. Each
    proxy appends its peer to X-Forwarded-For; earlier entries come from the caller and cannot be trusted.
    """
    forwarded = ",".join(request.headers.getlist("X-Forwarded-For")).split(",") if proxies else []
    hops = [hop.strip() for hop in forwarded] + [request.client.host if request.client else ""]
    if len(hops) <= proxies:
        return None
    hop = hops[-1 - proxies]
    return _parsed_address(hop) if len(hop) <= HOP_LENGTH else None


def came_over_https(request: Request, proxies: int) -> bool:
    """Returns whether the browser uses https, to us or to the first proxy. Its cookies are then `Secure`. Each proxy
    may append to X-Forwarded-Proto; the first entry is the browser's.
    """
    forwarded = request.headers.get("X-Forwarded-Proto", "") if proxies else ""
    return "https" in (request.url.scheme, forwarded.partition(",")[0].strip())


@lru_cache(maxsize=1024)
def _parsed_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    hop = HOP.fullmatch(text)
    if hop is None:
        return None
    try:
        address = ipaddress.ip_address(hop["bracketed"] or hop["four"] or hop["six"])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
