"""Calling addresses that callers of the API name: allowed hosts only, and nothing inside the operator's own network."""

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

# All that is routed in the internet. Outside of it are forms that were given up and that the library calls global: the
# site's own fec0::/10, and ::127.0.0.1 and ::ffff:0:127.0.0.1, which some systems take for the IPv4 address inside.
ROUTED: Final = ipaddress.IPv6Network("2000::/3")
# In there those that carry an IPv4 address, to which a gateway would take the call on; and examples in documents.
NOT_CALLED: Final = tuple(map(ipaddress.IPv6Network, ("2002::/16", "2001::/32", "3fff::/20")))
TRIED_ADDRESSES: Final = 3


def is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address not in ROUTED or any(address in network for network in NOT_CALLED):
            return False
    return address.is_global and not address.is_multicast


async def resolve(host: str, port: int) -> Sequence[Address]:
    """Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ipaddress.ip_address(entry[4][0]) for entry in found))


class HookSender:
    """Signs per Standard Webhooks 1.0. The name is resolved once, and the address that was checked is the one called:
    a name that points elsewhere a moment later gains nothing. The certificate must be the name's.
    """

    def __init__(self, secret: str, verify: ssl.SSLContext | None = None) -> None:
        self._signer = Webhook(secret)
        # A connection is for one call: the next name may share the address, and not the certificate.
        self._client = http_client(timeout=15, keep_alive=False, verify=verify)

    async def close(self) -> None:
        await self._client.aclose()

    async def send(self, message_id: str, target: Target, payload: str) -> Delivery:
        try:
            addresses = await resolve(target.host, target.port)
        except OSError:
            return Delivery("the host's name cannot be resolved", endpoint=True)
        if not addresses or not all(map(is_public, addresses)):
            return Delivery("the host's address is not a public one", endpoint=True)
        headers = signed_headers(self._signer, message_id, payload)
        headers["host"] = target.host if target.port == HTTPS_PORT else f"{target.host}:{target.port}"
        for address in addresses[:TRIED_ADDRESSES]:
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
