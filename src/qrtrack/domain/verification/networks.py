"""The network that a check comes from. Only a keyed hash of it is stored, and the hash changes every day."""

import hmac
from dataclasses import dataclass
from datetime import date, timedelta
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_network
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

# RFC 6052: the last 32 bits are an IPv4 address behind a translator.
NAT64: Final = IPv6Network("64:ff9b::/96")
NARROW: Final = 64
WIDE: Final = 48
KEY_BYTES: Final = 16

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Network:
    """`name` is an IPv4 address or an IPv6 /64, `wide` the IPv6 /48 around it. Neither may be stored or logged."""

    name: str
    wide: str | None = None


def network_of(address: Address | None) -> Network:
    """Returns the network of an address. All requests without an address, which bypassed the trusted proxies, share one
    network.
    """
    plain = _plain(address)
    if isinstance(plain, IPv6Address):
        return Network(*(str(ip_network((plain, bits), strict=False)) for bits in (NARROW, WIDE)))
    return Network("unknown" if plain is None else str(plain))


def _plain(address: Address | None) -> Address | None:
    if isinstance(address, IPv6Address) and address in NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return getattr(address, "ipv4_mapped", None) or address


class HashKeys:
    """Hashes networks and cookies with a key that is derived from SECRET_KEY."""

    def __init__(self, secret_key: str) -> None:
        self._key = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"qrtrack/verification").derive(
            secret_key.encode()
        )

    def of(self, purpose: str, *parts: str) -> bytes:
        """Returns the hash of the parts. A separator stands between them, so that `ab`, `c` and `a`, `bc` have
        different hashes.
        """
        message = "\0".join((purpose, *parts)).encode(errors="surrogatepass")
        return hmac.digest(self._key, message, "sha256")[:KEY_BYTES]

    def of_today(self, name: str, today: date) -> bytes:
        """Returns the hash of a network for one day. It differs from day to day, so that nobody can track a network."""
        return self.of("network", today.isoformat(), name)

    def of_two_days(self, name: str, today: date) -> list[bytes]:
        """Returns the hashes of today and of yesterday: the window of a limit may have begun before midnight."""
        return [self.of_today(name, today), self.of_today(name, today - timedelta(days=1))]
