from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrtrack.domain.akselgate.money import NotAnAmount, read_amount, write_amount

# One country reads `1.000` as a thousand, another as one.
EXPECTED = [
    ("150000", 0, "150000"),
    ("150000", 2, "150000.00"),
    (150000, 0, "150000"),
    (150000, 2, "150000.00"),
    ("1000.00", 0, None),
    ("1000.00", 2, "1000.00"),
    ("1000.5", 2, "1000.50"),
    ("0.01", 2, "0.01"),
    ("1.000", 0, None),
    ("1.000", 2, None),
    ("1,000", 0, None),
    ("1,000", 2, None),
    ("1e3", 0, None),
    ("1e3", 2, None),
]
REFUSED = [
    "0", "0.00", 0, -1, "-1", "+1", "01", "", " 1", "1 ", "1.", ".5", "1_000", "٣", "１", "NaN", "Infinity", "1\n",
    1.0, 150000.0, float("nan"), True, None, [], {}, "9" * 16, 10**4000,
]  # fmt: skip


@pytest.mark.parametrize(("given_amount", "scale", "written"), EXPECTED)
def test_an_amount_is_read_exactly_or_refused(given_amount: object, scale: int, written: str | None) -> None:
    if written is None:
        with pytest.raises(NotAnAmount):
            read_amount(given_amount, scale=scale)
    else:
        assert write_amount(read_amount(given_amount, scale=scale), scale=scale) == written


@pytest.mark.parametrize("scale", [0, 2])
@pytest.mark.parametrize("amount", REFUSED, ids=lambda amount: repr(amount)[:20])
def test_an_amount_that_is_not_canonical_and_positive_is_refused(amount: object, scale: int) -> None:
    with pytest.raises(NotAnAmount) as refusal:
        read_amount(amount, scale=scale)
    assert str(amount)[:50] not in str(refusal.value) or not str(amount)


@given(st.integers(1, 10**15 - 1), st.integers(0, 99))
def test_no_cent_is_lost_between_reading_and_writing(whole: int, cents: int) -> None:
    amount = read_amount(f"{whole}.{cents:02}", scale=2)
    assert amount == Decimal(whole) + Decimal(cents) / 100
    assert write_amount(amount, scale=2) == f"{whole}.{cents:02}"
