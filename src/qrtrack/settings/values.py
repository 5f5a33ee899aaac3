"""The types of settings: which values each accepts, and how it is parsed."""

import base64
import ipaddress
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, TypeAlias
from urllib.parse import urlsplit
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, SecretStr

from qrtrack.settings.addresses import LARGEST_PORT, ORIGIN, is_address
from qrtrack.settings.postgresql import parse_address

SIGNING_BYTES = 24
# Characters that Unicode calls printable and that nobody sees: fillers, joiners, variation selectors.
INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
HOST = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*(:[1-9][0-9]{0,4})?", re.ASCII)
DEFAULT_TENANT_ROLE = "qrtrack_tenant"
# PostgreSQL reserves the names pg_…, public and none.
ROLE_NAME = re.compile(r"(?!pg_|(?:public|none)$)[A-Za-z_][A-Za-z0-9_.$-]{0,62}", re.ASCII | re.IGNORECASE)
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})

MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


def _blank_is_unset(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


def check_as_written(value: object) -> object:
    """Raises ValueError for text with white space around it, or with an invisible character in it.

    Nothing is stripped silently: a password may begin with a blank, and a changed SECRET_KEY opens no sealed root key.
    """
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if not isinstance(text, str):
        return value
    if text.rstrip("\r\n") != text:
        raise ValueError(
            "it ends with a line end: write it without one, a file or a Kubernetes secret with `printf %s`"
        )
    if text.strip() != text:
        raise ValueError("it begins or ends with white space: remove it")
    for character in text:
        if not character.isprintable() or INVISIBLE.match(character):
            raise ValueError(f"it contains the invisible character U+{ord(character):04X}: type it anew")
    return value


def _ascii(value: SecretStr | None) -> SecretStr | None:
    if value is not None and not value.get_secret_value().isascii():
        raise ValueError("it must be ASCII, since it is sent in a header: copy it again")
    return value


def _postgresql_address(value: str) -> str:
    parse_address(value)
    return value


def _role_name(value: str) -> str:
    if not ROLE_NAME.fullmatch(value):
        raise ValueError(
            "it must be the name of a role: a letter or _, then up to 62 letters, digits, _, -, . or $. It must not "
            "begin with pg_, and must not be public or none"
        )
    return value


def _origins(value: str) -> str:
    if not all(origin == "*" or is_address(origin, ORIGIN) for origin in split(value)):
        raise ValueError("it must list origins such as https://app.example.com, with commas between them")
    return value


def parsed_origins(value: str) -> list[str]:
    return [origin_of(address) for address in split(value)]


def origin_of(address: str) -> str:
    """Returns the origin as browsers send it: in lower case, and without the scheme's default port."""
    found = ORIGIN.match(address)
    origin = (found[0] if found else address).lower()
    return origin.removesuffix(":443" if origin.startswith("https:") else ":80")


def _header_names(value: str) -> str:
    if not all(HEADER_NAME.fullmatch(name) for name in split(value)):
        raise ValueError("it must list names of headers such as traceparent, with commas between them")
    return value


def _time_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("it must name a time zone such as Asia/Jakarta") from error
    return value


def _zero_or_two(value: int) -> int:
    if value not in (0, 2):
        raise ValueError("it must be 0 or 2")
    return value


def _failure_codes(value: str) -> str:
    codes = split(value)
    if not codes or not all(code.isascii() and code.isalnum() for code in codes):
        raise ValueError("it must list codes such as 05,14,51, with commas between them")
    if any(not code.strip("0") for code in codes):
        raise ValueError("it must not list 00 or other zeros: they mean success, or are unclear")
    return value


def _signing_secret(value: SecretStr | None) -> SecretStr | None:
    if value is not None:
        secret = value.get_secret_value().removeprefix("whsec_")
        try:
            usable = len(base64.b64decode(secret, validate=True)) >= SIGNING_BYTES
        except ValueError:
            usable = False
        if not usable:
            raise ValueError(
                f"it must be at least {SIGNING_BYTES} random bytes in base64, with or without whsec_ before them"
            )
    return value


def _networks(value: str) -> str:
    try:
        parsed_networks(value)
    except ValueError:
        raise ValueError("it must list addresses or networks such as 203.0.113.0/24, with commas between") from None
    return value


@lru_cache
def parsed_networks(value: str) -> Sequence[Network]:
    return [_network(entry) for entry in split(value)]


def _network(entry: str) -> Network:
    """Parses a network. An IPv4-mapped network becomes the IPv4 network, because callers' addresses are compared in
    that form.
    """
    network = ipaddress.ip_network(entry, strict=False)
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(MAPPED):
        mapped = network.network_address.ipv4_mapped
        assert mapped is not None
        return ipaddress.IPv4Network((mapped, network.prefixlen - MAPPED.prefixlen))
    return network


def _databases(value: str) -> str:
    try:
        named_once = len(parsed_databases(value)) == len(split(value))
    except ValueError:
        raise ValueError("it must list <database id>=<organisation uuid>, with commas between them") from None
    if not named_once:
        raise ValueError("it names a database twice: each database must have one owner")
    return value


@lru_cache
def parsed_databases(value: str) -> Mapping[int, UUID]:
    pairs = (entry.split("=", 1) for entry in split(value))
    return {int(database): UUID(organisation.strip()) for database, organisation in pairs}


def _names(value: str) -> str:
    try:
        parsed_names(value)
    except ValueError:
        raise ValueError("it must list <organisation uuid>=<name>, with semicolons between them") from None
    return value


@lru_cache
def parsed_names(value: str) -> Mapping[UUID, str]:
    pairs = (entry.partition("=") for entry in value.split(";") if entry.strip())
    named = [(UUID(organisation.strip()), name.strip()) for organisation, _, name in pairs]
    if not all(name for _, name in named) or len(dict(named)) < len(named):
        raise ValueError("a name is missing, or an organisation has two")
    return dict(named)


def split(value: str) -> list[str]:
    return [entry.strip() for entry in value.split(",") if entry.strip()]


def _mail_server(value: SecretStr | None) -> SecretStr | None:
    if value is not None:
        try:
            parts = urlsplit(value.get_secret_value())
            usable = parts.scheme in ("smtp", "smtps") and bool(parts.hostname) and parts.port != 0
            usable &= value.get_secret_value().isascii() and " " not in value.get_secret_value()
            # At a #, / or ? in the password, `urlsplit` ends the host part: it returns the user as host, and the rest
            # of the address as fragment, path or query.
            usable &= parts.path in ("", "/") and not (parts.query or parts.fragment)
        except ValueError:
            usable = False
        if not usable:
            raise ValueError("it must be an address such as smtps://user:password@mail.example.com")
    return value


def _hosts(value: str) -> str:
    if not all(HOST.fullmatch(entry) for entry in split(value)) or any(
        port > LARGEST_PORT for _, port in parsed_hosts(value)
    ):
        raise ValueError("it must list host names, each with :port unless that is 443, with commas between them")
    return value


@lru_cache
def parsed_hosts(value: str) -> frozenset[tuple[str, int]]:
    pairs = (entry.lower().partition(":") for entry in split(value))
    return frozenset((host, int(port or 443)) for host, _, port in pairs)


def is_safe_way(address: str | None) -> bool:
    return urlsplit(address or "https:").scheme == "https" or is_of_this_machine(address)


def is_of_this_machine(address: str | None) -> bool:
    return urlsplit(address or "").hostname in LOOPBACK_HOSTS


Secret = Annotated[SecretStr | None, BeforeValidator(_blank_is_unset)]
HeaderSecret = Annotated[SecretStr | None, AfterValidator(_ascii), BeforeValidator(_blank_is_unset)]
SigningSecret = Annotated[SecretStr | None, AfterValidator(_signing_secret), BeforeValidator(_blank_is_unset)]
DatabaseAddress = Annotated[str, AfterValidator(_postgresql_address)]
RoleName = Annotated[str, AfterValidator(_role_name)]
TimeZone = Annotated[str, AfterValidator(_time_zone)]
AmountScale = Annotated[int, AfterValidator(_zero_or_two)]
FailureCodes = Annotated[str, AfterValidator(_failure_codes)]
HeaderNames = Annotated[str, AfterValidator(_header_names)]
Origins = Annotated[str, AfterValidator(_origins)]
Networks = Annotated[str, AfterValidator(_networks)]
Hosts = Annotated[str, AfterValidator(_hosts)]
MailServer = Annotated[SecretStr | None, AfterValidator(_mail_server), BeforeValidator(_blank_is_unset)]
Databases = Annotated[str, AfterValidator(_databases)]
OrganisationNames = Annotated[str, AfterValidator(_names)]
