"""Calls URLs that API callers give. The service has compared their hosts with the allow-list; this module connects
only to public addresses (no SSRF).
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Sequence
from typing import Final, TypeAlias

import httpx2
from standardwebhooks.webhooks import Webhook

from qrtrack.domain.notifications import HTTPS_PORT, Target
from qrtrack.integrations.http import http_client
from qrtrack.integrations.standard_webhooks import Delivery, post, signed_headers

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

# IPv6 unicast that is routed on the internet. `is_global` also accepts deprecated forms outside of it: site-local
# fec0::/10, and ::127.0.0.1 and ::ffff:0:127.0.0.1, which some systems treat as the embedded IPv4 address.
ROUTED: Final = ipaddress.IPv6Network("2000::/3")
# Ranges of ROUTED that embed an IPv4 address, to which a gateway would connect (6to4, Teredo), and a range for
# documentation that Python 3.11 takes for global.
BLOCKED: Final = tuple(map(ipaddress.IPv6Network, ("2002::/16", "2001::/32", "3fff::/20")))
MAX_ADDRESSES: Final = 3


def is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address not in ROUTED or any(address in network for network in BLOCKED):
            return False
    return address.is_global and not address.is_multicast


async def resolve(host: str, port: int) -> Sequence[Address]:
    """Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ipaddress.ip_address(entry[4][0]) for entry in found))


class HookSender:
    """Resolves the name once and connects to the checked address, so that DNS rebinding has no effect. The certificate
    must match the name.
    """

    def __init__(self, secret: str, verify: ssl.SSLContext | None = None) -> None:
        self._signer = Webhook(secret)
        # Connections are not kept alive: another name may have the same address, and its certificate must be checked
        # again.
        self._client = http_client(timeout=15, keep_alive=False, verify=verify)

    async def close(self) -> None:
        await self._client.aclose()

    async def send(self, message_id: str, target: Target, payload: str) -> Delivery:
        try:
            addresses = await resolve(target.host, target.port)
        except OSError:
            return Delivery("the host's name cannot be resolved", endpoint=True)
        if not addresses or not all(map(is_public, addresses)):
            return Delivery("the host's address is not public", endpoint=True)
        headers = signed_headers(self._signer, message_id, payload)
        headers["host"] = target.host if target.port == HTTPS_PORT else f"{target.host}:{target.port}"
        for address in addresses[:MAX_ADDRESSES]:
            try:
                return await post(
                    self._client,
                    _url(address, target),
                    payload,
                    headers,
                    extensions={"sni_hostname": target.host},
                )
            except httpx2.ConnectError:
                continue
        return Delivery("the host cannot be reached", endpoint=True)


def _url(address: Address, target: Target) -> httpx2.URL:
    return httpx2.URL(scheme="https", host=str(address), port=target.port, raw_path=target.path.encode("ascii"))
