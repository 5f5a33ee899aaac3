"""Amounts of money: text in, Decimal inside, text of a fixed scale out. Never a float."""

import re
from decimal import Decimal

DIGITS = 15
CANONICAL = re.compile(r"(?:0|[1-9][0-9]*)(?:\.[0-9]+)?", re.ASCII)


class NotAnAmount(ValueError):
    """The message says what is wrong, without the value."""


def read_amount(given: object, *, scale: int) -> Decimal:
    """A positive amount out of canonical text (`150000`, `1000.50`) or an integer, with at most `scale` decimals.

    `1.000` under scale 0 is refused instead of guessed at: it is one to some, and a thousand to others.
    """
    if isinstance(given, bool) or not isinstance(given, str | int):
        raise NotAnAmount('An amount is text such as "150000", or a whole number: no other number, for it has no scale')
    text = given if isinstance(given, str) else format(Decimal(given), "f")
    if not CANONICAL.fullmatch(text):
        raise NotAnAmount("An amount has digits and at most one point: no sign, exponent, separator or leading zero")
    whole, _, decimals = text.partition(".")
    if len(decimals) > scale:
        raise NotAnAmount(f"An amount has at most {scale} digits after the point here")
    if len(whole) > DIGITS:
        raise NotAnAmount(f"An amount has at most {DIGITS} digits before the point")
    amount = Decimal(text)
    if not amount:
        raise NotAnAmount("An amount is greater than zero")
    return amount


def write_amount(amount: Decimal, *, scale: int) -> str:
    """Exactly `scale` digits after the point. The amount has no more than these."""
    return format(amount.quantize(Decimal(1).scaleb(-scale)), "f")
