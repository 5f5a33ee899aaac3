"""Label printers: their addresses, the networks that the service may print into, and the status that they report."""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from qrtrack.domain.errors import Conflict, FieldError, InvalidInput, Unavailable, invalid_field
from qrtrack.domain.field_codes import FieldCode
from qrtrack.domain.labels.documents import FileFormat
from qrtrack.domain.labels.formats import UNCALIBRATED, Calibration
from qrtrack.domain.labels.zpl import Dpi

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

PRINTERS_OF_ORGANISATION: Final = 200
FIRST_PORT, LAST_PORT = 9100, 9109
ADDRESS_PATTERN: Final = r"^([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):910[0-9]$"

# A wide network of PRINTER_NETWORKS does not permit these addresses: this machine, link-local addresses, the metadata
# services of clouds, multicast and reserved addresses, and IPv6 forms that embed an IPv4 address. A listed network that
# lies within one of these ranges permits its addresses.
SPECIAL: Final[Sequence[Network]] = tuple(
    map(
        ipaddress.ip_network,
        (
            "0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "100.100.100.200/32", "224.0.0.0/3",
            "::/8", "64:ff9b::/32", "2002::/16", "fd00:ec2::/32", "fe80::/10", "ff00::/8",
        ),
    )
)  # fmt: skip


class PrintingOff(Unavailable):
    """PRINTER_NETWORKS is empty, so the service does not print."""

    slug = "printing-off"
    title = "Printing by the server is off"
    message = (
        "Printing by the server is off. Ask the operator of the service to set PRINTER_NETWORKS to the networks of "
        "your printers, such as 192.0.2.0/24."
    )


class PrinterNameTaken(Conflict):
    """The organisation has a printer of this name."""

    slug = "printer-name-taken"
    title = "The name is taken"
    message = "Your organisation has another printer of this name. Choose another name."


class FormatInUse(Conflict):
    """A printer uses the label format: the format cannot be deleted, and for a ZPL printer it cannot become a sheet."""

    slug = "format-in-use"
    title = "A printer uses the label format"

    def __init__(self, printers: Sequence[str]) -> None:
        super().__init__(f"These printers use the format: {', '.join(printers)}. First give them another format.")


class TooManyPrinters(InvalidInput):
    """The organisation already has the maximum number of printers."""

    slug = "too-many-printers"
    title = "Too many printers"

    def __init__(self) -> None:
        detail = f"An organisation has at most {PRINTERS_OF_ORGANISATION} printers. Delete one that nobody uses."
        error = FieldError("/name", detail, FieldCode.TOO_MANY, {"max": PRINTERS_OF_ORGANISATION})
        super().__init__(detail, errors=[error])


@dataclass(frozen=True, slots=True)
class PrinterAddress:
    """The address of a printer as the manager wrote it. `host` is a name or an IP address (IPv6 without brackets)."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "PrinterAddress":
        """Parses an address. `text` must match ADDRESS_PATTERN."""
        host, _, port = text.rpartition(":")
        return cls(host.strip("[]"), int(port))


def written_address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(frozen=True, slots=True)
class NewPrinter:
    """`preset` is the label format of case labels; None means `roll-100x150`."""

    name: str
    address: PrinterAddress
    file_format: FileFormat = FileFormat.ZPL
    dpi: Dpi = 203
    stations: Sequence[str] = ()
    preset: str | None = None
    calibration: Calibration = UNCALIBRATED


@dataclass(frozen=True, slots=True)
class PrinterNetworks:
    """The networks that this process may print into."""

    listed: Sequence[Network] = ()
    opened: Sequence[Network] = field(init=False)
    """Those of the listed networks that lie within a special range. They permit printing to that part of the range."""

    def __post_init__(self) -> None:
        opened = [network for network in self.listed if any(_is_within(network, special) for special in SPECIAL)]
        object.__setattr__(self, "opened", opened)

    def __bool__(self) -> bool:
        return bool(self.listed)

    def holds(self, address: Address) -> bool:
        return _is_in(address, self.opened) or (_is_in(address, self.listed) and not _is_in(address, SPECIAL))

    def choose(self, host: str, addresses: Sequence[Address]) -> Address:
        """Returns the first address that the service may print to. Raises InvalidInput."""
        if not addresses:
            detail = f"The name {host} cannot be found. Check it, or write the printer's IP address."
            raise invalid_field("/address", detail, FieldCode.UNKNOWN_HOST, value=host)
        plain = [_plain(address) for address in addresses]
        for address in plain:
            if self.holds(address):
                return address
        detail = (
            f"PRINTER_NETWORKS does not permit the address {plain[0]}. Correct the address, or ask the operator of the "
            "service to add the printer's network."
        )
        raise invalid_field("/address", detail, FieldCode.OUTSIDE_NETWORKS, value=str(plain[0]))


def _is_in(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


def _is_within(network: Network, other: Network) -> bool:
    return network.version == other.version and network.subnet_of(other)  # type: ignore[arg-type]


def _plain(address: Address) -> Address:
    """Converts an IPv4-mapped IPv6 address to IPv4, because a connection goes to the IPv4 address."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return address if mapped is None else mapped


HOST_STATUS: Final = b"~HS"
STATUS_PARTS: Final = re.compile(rb"\x02([^\x02\x03]*)\x03")
STATUS_STRINGS: Final = 3
# Maps the position of each flag, in the first and in the second string of the answer, to its meaning (ZPL II
# programming guide, ~HS).
FLAGS: Final = (
    (0, 1, "the paper is out"),
    (1, 2, "the head is open"),
    (0, 2, "it is paused"),
    (0, 5, "its buffer is full"),
)


def parse_host_status(answer: bytes) -> Sequence[str] | None:
    """Returns why a ZPL printer cannot print, in words; an empty list if it is ready; None if the status is incomplete.

    The answer is three strings, each between STX and ETX.
    """
    strings = [part.decode("ascii", "replace").split(",") for part in STATUS_PARTS.findall(answer)]
    if len(strings) < STATUS_STRINGS:
        return None
    return [words for string, place, words in FLAGS if strings[string][place : place + 1] == ["1"]]
