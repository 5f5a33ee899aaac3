"""The public hosts: that of PUBLIC_BASE_URL, those of organisations (PUBLIC_HOSTS), and retired ones."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Final, Self
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import AfterValidator

from qrtrack.settings.addresses import ORIGIN, is_address
from qrtrack.settings.values import must, origin_of, split

_OF_ORGANISATION: Final = re.compile(r"(?P<host>[^=\s]+)=(?P<organisation>\S+)")


@dataclass(frozen=True, slots=True)
class PublicAddresses:
    """The addresses that symbols begin with. Hosts are in small letters, with the port if the address has one."""

    base_url: str
    own_hosts: Mapping[str, UUID]
    retired_hosts: frozenset[str]

    @classmethod
    def parse(cls, base_url: str, public_hosts: str, retired_hosts: str) -> Self:
        """Builds the addresses from valid settings."""
        retired = frozenset(_normal(host) for host in split(retired_hosts))
        return cls(base_url, parsed_public_hosts(public_hosts), retired)

    def check(self) -> None:
        """Raises ValueError if PUBLIC_HOSTS names the host of the API, which would then serve verification only."""
        if host_of(self.base_url) in self.own_hosts:
            raise ValueError(
                "PUBLIC_HOSTS names the host of PUBLIC_BASE_URL, and hosts of organisations serve verification only: "
                "take it out. The organisation's labels carry the host of PUBLIC_BASE_URL without it."
            )

    def base_url_of(self, organisation_id: UUID) -> str:
        """Returns the address with the organisation's own host, or else PUBLIC_BASE_URL."""
        for host, organisation in self.own_hosts.items():
            if organisation == organisation_id:
                return f"{urlsplit(self.base_url).scheme}://{host}"
        return self.base_url

    @property
    def shared_hosts(self) -> frozenset[str]:
        """Returns the hosts that serve the labels of every organisation."""
        return self.retired_hosts | {host_of(self.base_url)}

    @property
    def verification_hosts(self) -> frozenset[str]:
        """Returns the hosts that serve public verification and nothing else."""
        return (self.retired_hosts | self.own_hosts.keys()) - {host_of(self.base_url)}


def host_of(address: str) -> str:
    """Returns the host of an address, with the port if it is not the scheme's default."""
    return origin_of(address).partition("://")[2]


def _public_hosts(value: str) -> str:
    parsed = [_OF_ORGANISATION.fullmatch(entry) for entry in split(value)]
    try:
        organisations = [UUID(entry["organisation"]) for entry in parsed if entry]
    except ValueError:
        organisations = []
    if len(organisations) != len(parsed) or not all(_is_host(entry["host"]) for entry in parsed if entry):
        raise ValueError("it must list <host>=<organisation uuid>, with commas between them")
    if len(parsed_public_hosts(value)) != len(parsed):
        raise ValueError("it names a host twice: give each organisation a host of its own")
    if len(set(organisations)) != len(parsed):
        raise ValueError(
            "it names two hosts for one organisation: keep the one that labels are printed with, and put the other "
            "into RETIRED_PUBLIC_HOSTS"
        )
    return value


def _is_host(text: str) -> bool:
    return is_address(f"https://{text}", ORIGIN)


@lru_cache
def parsed_public_hosts(value: str) -> Mapping[str, UUID]:
    pairs = (entry.split("=", 1) for entry in split(value))
    return {_normal(host): UUID(organisation) for host, organisation in pairs}


def _normal(host: str) -> str:
    """Returns the host in small letters, without the default port of https."""
    return host_of(f"https://{host}")


PublicHosts = Annotated[str, AfterValidator(_public_hosts)]
RetiredHosts = Annotated[
    str,
    must(
        lambda value: all(map(_is_host, split(value))),
        "it must list hosts such as verify.example.com, with commas between them",
    ),
]
