"""The types of settings: which values each accepts, and how it is parsed."""

import base64
import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, TypeAlias
from urllib.parse import urlsplit
from uuid import UUID
from zoneinfo import ZoneInfo

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


def must(hold: Callable[[Any], object], message: str) -> AfterValidator:
    """Returns a rule for a type of setting: a value is refused with the message if `hold` returns something false or
    raises an error of a parser. `hold` gets the text of a secret.
    """

    def check(value: object) -> object:
        plain = value.get_secret_value() if isinstance(value, SecretStr) else value
        try:
            holds = plain is None or hold(plain)
        except (ValueError, LookupError, OSError):
            holds = False
        if not holds:
            raise ValueError(message)
        return value

    return AfterValidator(check)


def _postgresql_address(value: str) -> str:
    parse_address(value)
    return value


def parsed_origins(value: str) -> list[str]:
    return [origin_of(address) for address in split(value)]


def origin_of(address: str) -> str:
    """Returns the origin as browsers send it: in lower case, and without the scheme's default port."""
    found = ORIGIN.match(address)
    origin = (found[0] if found else address).lower()
    return origin.removesuffix(":443" if origin.startswith("https:") else ":80")


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


@lru_cache
def parsed_databases(value: str) -> Mapping[int, UUID]:
    pairs = (entry.split("=", 1) for entry in split(value))
    return {int(database): UUID(organisation.strip()) for database, organisation in pairs}


@lru_cache
def parsed_names(value: str) -> Mapping[UUID, str]:
    pairs = (entry.partition("=") for entry in value.split(";") if entry.strip())
    named = [(UUID(organisation.strip()), name.strip()) for organisation, _, name in pairs]
    if not all(name for _, name in named) or len(dict(named)) < len(named):
        raise ValueError("a name is missing, or an organisation has two")
    return dict(named)


def split(value: str) -> list[str]:
    return [entry.strip() for entry in value.split(",") if entry.strip()]


@lru_cache
def parsed_hosts(value: str) -> frozenset[tuple[str, int]]:
    pairs = (entry.lower().partition(":") for entry in split(value))
    return frozenset((host, int(port or 443)) for host, _, port in pairs)


def is_safe_way(address: str | None) -> bool:
    return urlsplit(address or "https:").scheme == "https" or is_of_this_machine(address)


def is_of_this_machine(address: str | None) -> bool:
    return urlsplit(address or "").hostname in LOOPBACK_HOSTS


def _is_signing_secret(secret: str) -> bool:
    return len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) >= SIGNING_BYTES


def _is_mail_server(address: str) -> bool:
    parts = urlsplit(address)
    is_server = parts.scheme in ("smtp", "smtps") and bool(parts.hostname) and parts.port != 0
    # At a #, / or ? in the password, `urlsplit` ends the host part: it returns the user as host, and the rest of the
    # address as fragment, path or query.
    is_host_only = parts.path in ("", "/") and not (parts.query or parts.fragment)
    return is_server and is_host_only and address.isascii() and " " not in address


def _are_hosts(value: str) -> bool:
    return all(map(HOST.fullmatch, split(value))) and all(port <= LARGEST_PORT for _, port in parsed_hosts(value))


def _are_codes(value: str) -> bool:
    return bool(split(value)) and all(code.isascii() and code.isalnum() for code in split(value))


Secret = Annotated[SecretStr | None, BeforeValidator(_blank_is_unset)]
HeaderSecret = Annotated[Secret, must(str.isascii, "it must be ASCII, since it is sent in a header: copy it again")]
SigningSecret = Annotated[
    Secret,
    must(
        _is_signing_secret,
        f"it must be at least {SIGNING_BYTES} random bytes in base64, with or without whsec_ before them",
    ),
]
MailServer = Annotated[
    Secret, must(_is_mail_server, "it must be an address such as smtps://user:password@mail.example.com")
]
DatabaseAddress = Annotated[str, AfterValidator(_postgresql_address)]
RoleName = Annotated[
    str,
    must(
        ROLE_NAME.fullmatch,
        "it must be the name of a role: a letter or _, then up to 62 letters, digits, _, -, . or $. It must not begin "
        "with pg_, and must not be public or none",
    ),
]
TimeZone = Annotated[str, must(ZoneInfo, "it must name a time zone such as Asia/Jakarta")]
AmountScale = Annotated[int, must(lambda scale: scale in (0, 2), "it must be 0 or 2")]
FailureCodes = Annotated[
    str,
    must(_are_codes, "it must list codes such as 05,14,51, with commas between them"),
    must(
        lambda value: all(code.strip("0") for code in split(value)),
        "it must not list 00 or other zeros: they mean success, or are unclear",
    ),
]
HeaderNames = Annotated[
    str,
    must(
        lambda value: all(map(HEADER_NAME.fullmatch, split(value))),
        "it must list names of headers such as traceparent, with commas between them",
    ),
]
Origins = Annotated[
    str,
    must(
        lambda value: all(origin == "*" or is_address(origin, ORIGIN) for origin in split(value)),
        "it must list origins such as https://app.example.com, with commas between them",
    ),
]
Networks = Annotated[
    str,
    must(
        lambda value: parsed_networks(value) is not None,
        "it must list addresses or networks such as 203.0.113.0/24, with commas between",
    ),
]
Hosts = Annotated[
    str, must(_are_hosts, "it must list host names, each with :port unless that is 443, with commas between them")
]
Databases = Annotated[
    str,
    must(
        lambda value: parsed_databases(value) is not None,
        "it must list <database id>=<organisation uuid>, with commas between them",
    ),
    must(
        lambda value: len(parsed_databases(value)) == len(split(value)),
        "it names a database twice: each database must have one owner",
    ),
]
OrganisationNames = Annotated[
    str,
    must(
        lambda value: parsed_names(value) is not None,
        "it must list <organisation uuid>=<name>, with semicolons between them",
    ),
]
