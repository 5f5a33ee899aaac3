"""Amounts of money: read from text, kept as Decimal, written with a fixed number of decimals. Never a float."""

import re
from decimal import Decimal

DIGITS = 15
CANONICAL = re.compile(r"(?:0|[1-9][0-9]*)(?:\.[0-9]+)?", re.ASCII)


class NotAnAmount(ValueError):
    """The value is not an amount. The message says what is wrong, without the value."""


def read_amount(given: object, *, scale: int) -> Decimal:
    """Reads a positive amount from an integer or canonical text (`150000`, `1000.50`) with at most `scale` decimals.

    With scale 0 it refuses `1.000`, which means one in some countries and a thousand in others.
    """
    if isinstance(given, bool) or not isinstance(given, str | int):
        raise NotAnAmount(
            'An amount is text such as "150000", or a whole number. Write an amount with decimals as text'
        )
    text = given if isinstance(given, str) else format(Decimal(given), "f")
    if not CANONICAL.fullmatch(text):
        raise NotAnAmount(
            "An amount has only digits and at most one decimal point: no sign, exponent, separator or leading zero"
        )
    whole, _, decimals = text.partition(".")
    if len(decimals) > scale:
        raise NotAnAmount(f"An amount has at most {scale} digits after the point at this gateway")
    if len(whole) > DIGITS:
        raise NotAnAmount(f"An amount has at most {DIGITS} digits before the point")
    amount = Decimal(text)
    if not amount:
        raise NotAnAmount("An amount is greater than zero")
    return amount


def write_amount(amount: Decimal, *, scale: int) -> str:
    """Writes exactly `scale` decimals; the amount must not have more."""
    return format(amount.quantize(Decimal(1).scaleb(-scale)), "f")
