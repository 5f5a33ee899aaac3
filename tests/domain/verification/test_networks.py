from datetime import date, timedelta
from ipaddress import ip_address

import pytest

from qrtrack.domain.verification.networks import HashKeys, Network, network_of

TODAY = date(2026, 11, 26)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.7", Network("203.0.113.7")),
        ("::ffff:203.0.113.7", Network("203.0.113.7")),
        ("64:ff9b::cb00:7107", Network("203.0.113.7")),
        ("2001:db8:1:2:3::4", Network("2001:db8:1:2::/64", "2001:db8:1::/48")),
        ("::1", Network("::/64", "::/48")),
    ],
)
def test_a_network_is_an_ipv4_address_or_an_ipv6_64(address: str, network: Network) -> None:
    assert network_of(ip_address(address)) == network


def test_without_an_address_all_share_one_network() -> None:
    assert network_of(None) == Network("unknown")


def test_the_hash_of_a_network_changes_every_day_and_with_the_secret() -> None:
    hashes = HashKeys("secret")
    days = [hashes.of_today("203.0.113.7", TODAY + timedelta(days=days)) for days in range(3)]
    assert len({*days, HashKeys("other").of_today("203.0.113.7", TODAY)}) == 4
    assert hashes.of_two_days("203.0.113.7", TODAY + timedelta(days=1)) == [days[1], days[0]]


def test_parts_are_told_apart() -> None:
    hashes = HashKeys("secret")
    assert len({hashes.of("code", "ab", "c"), hashes.of("code", "a", "bc"), hashes.of("batch", "ab", "c")}) == 3
    assert len(hashes.of("code", "\ud800")) == 16
