"""Where the service may print, and what a printer's answer to `~HS` says."""

import ipaddress
import re

import pytest

from printer import StandIn
from qrtrack.domain.errors import InvalidInput
from qrtrack.domain.labels.printers import (
    ADDRESS_PATTERN,
    PrinterAddress,
    PrinterNetworks,
    parse_host_status,
    written_address,
)
from qrtrack.settings.values import parsed_networks


def networks(listed: str) -> PrinterNetworks:
    return PrinterNetworks(parsed_networks(listed))


@pytest.mark.parametrize(
    ("listed", "address", "held"),
    [
        ("192.0.2.0/24", "192.0.2.7", True),
        ("192.0.2.0/24", "192.0.3.7", False),
        ("192.0.2.0/24, 198.51.100.7", "198.51.100.7", True),
        ("", "192.0.2.7", False),
        ("0.0.0.0/0", "192.0.2.7", True),
        ("0.0.0.0/0", "127.0.0.1", False),
        ("0.0.0.0/0", "169.254.169.254", False),
        ("0.0.0.0/0", "100.100.100.200", False),
        ("0.0.0.0/0", "0.0.0.0", False),
        ("0.0.0.0/0", "224.0.0.1", False),
        ("0.0.0.0/0", "255.255.255.255", False),
        ("0.0.0.0/0, 127.0.0.0/8", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("169.254.7.0/24", "169.254.7.9", True),
        ("169.254.7.0/24", "169.254.169.254", False),
        ("::/0", "2001:db8::7", True),
        ("::/0", "::1", False),
        ("::/0", "fe80::1", False),
        ("::/0", "fd00:ec2::254", False),
        ("::/0", "64:ff9b::7f00:1", False),
        ("::/0", "2002:7f00:1::", False),
        ("::1", "::1", True),
        ("fd00::/8", "fd12::7", True),
    ],
)
def test_printing_goes_into_listed_networks_and_to_special_addresses_only_where_they_are_listed(
    listed: str, address: str, *, held: bool
) -> None:
    assert networks(listed).holds(ipaddress.ip_address(address)) is held


def test_an_ipv4_mapped_address_is_read_as_its_ipv4_address() -> None:
    mapped = [ipaddress.ip_address("::ffff:127.0.0.1")]
    assert networks("127.0.0.1").choose("x", mapped) == ipaddress.ip_address("127.0.0.1")
    for listed in ("0.0.0.0/0", "::/0"):
        with pytest.raises(InvalidInput):
            networks(listed).choose("x", mapped)


def test_the_printer_gets_an_address_in_the_allowed_networks() -> None:
    found = [ipaddress.ip_address(text) for text in ("198.51.100.1", "192.0.2.7")]
    assert networks("192.0.2.0/24").choose("x", found) == found[1]


@pytest.mark.parametrize("address", ["192.0.2.7:9100", "printer-3.plant.example:9109", "[2001:db8::7]:9100"])
def test_an_address_is_a_host_and_a_port(address: str) -> None:
    assert re.search(ADDRESS_PATTERN, address)
    parsed = PrinterAddress.parse(address)
    assert written_address(parsed.host, parsed.port) == address


@pytest.mark.parametrize(
    "address",
    [
        "192.0.2.7",
        "192.0.2.7:80",
        "192.0.2.7:9110",
        "http://x:9100",
        "a b:9100",
        "x:9100/",
        "[fe80::1%eth0]:9100",
        ":9100",
    ],
)
def test_other_ports_and_other_spellings_are_refused(address: str) -> None:
    assert not re.search(ADDRESS_PATTERN, address)


def test_the_status_of_a_printer_is_shown_in_words() -> None:
    assert parse_host_status(StandIn().status) == []
    ill = StandIn(paper_out=True, head_open=True, paused=True, buffer_full=True)
    assert parse_host_status(ill.status) == [
        "the paper is out", "the head is open", "it is paused", "its buffer is full",
    ]  # fmt: skip


@pytest.mark.parametrize("answer", [b"", b"\x02030,1\x03\r\n", StandIn().status[:40], b"HTTP/1.1 400 Bad Request\r\n"])
def test_an_incomplete_status_is_none(answer: bytes) -> None:
    assert parse_host_status(answer) is None


def test_a_status_of_too_few_fields_tells_no_trouble() -> None:
    assert parse_host_status(b"\x02\x03\r\n\x02\xff,\x03\x021\x03") == []
