"""Each GTIN and each GS1 company prefix belongs to one organisation, because a Digital Link names neither the batch nor
the organisation.

The item number of a GTIN is its 12 digits without the packaging level (the first of 14) and the check digit (the last).
A company prefix stands for the item numbers that begin with it.
"""

import re
from typing import Final, NamedTuple

from qrtrack.domain.errors import Conflict, FieldError, InvalidInput, invalid_field
from qrtrack.domain.field_codes import FieldCode

PREFIX_PATTERN: Final = "^[0-9]{4,12}$"
PREFIXES_OF_ORGANISATION: Final = 100
ITEM_DIGITS: Final = 12


class GtinTaken(Conflict):
    """The GTIN belongs to another organisation of this service, by itself or through a company prefix."""

    slug = "gtin-taken"
    title = "The GTIN belongs to another organisation"

    def __init__(self, gtin: str) -> None:
        super().__init__(
            f"The GTIN {gtin} belongs to another organisation of this service. Compare it with the one on the product. "
            "If it is yours, ask the operator of the service to move it to your organisation.",
            gtin=gtin,
        )


class PrefixTaken(Conflict):
    """The company prefix, or a GTIN that begins with it, is claimed already."""

    slug = "prefix-taken"
    title = "The company prefix is claimed already"


def prefix_of_another(prefix: str) -> PrefixTaken:
    return PrefixTaken(
        f"The prefix {prefix} or GTINs of it belong to another organisation of this service. Compare it with the "
        "certificate from GS1. If it is yours, ask the operator of the service to move it to your organisation."
    )


def prefix_of_your_own(prefix: str, existing: str) -> PrefixTaken:
    return PrefixTaken(
        f"The prefix {prefix} overlaps with {existing}, which your organisation has already. Delete {existing} first, "
        f"if GS1 gave you {prefix}."
    )


class TooManyPrefixes(InvalidInput):
    """The organisation already has the maximum number of company prefixes."""

    slug = "too-many-prefixes"
    title = "Too many company prefixes"

    def __init__(self) -> None:
        detail = (
            f"An organisation has at most {PREFIXES_OF_ORGANISATION} company prefixes. Delete one that is not used."
        )
        error = FieldError("/path/prefix", detail, FieldCode.TOO_MANY, {"max": PREFIXES_OF_ORGANISATION})
        super().__init__(detail, errors=[error])


def check_prefix(prefix: str) -> str:
    """Returns the prefix if it has 4 to 12 digits. Raises InvalidInput."""
    if not re.fullmatch(PREFIX_PATTERN, prefix, re.ASCII):
        raise invalid_field("/prefix", "A company prefix has 4 to 12 digits.", FieldCode.BAD_COMPANY_PREFIX)
    return prefix


class Items(NamedTuple):
    """A range of item numbers, both ends included."""

    low: int
    high: int


def items_of_gtin(gtin14: str) -> Items:
    item = int(gtin14[1:13])
    return Items(item, item)


def items_of_prefix(prefix: str) -> Items:
    return Items(int(prefix.ljust(ITEM_DIGITS, "0")), int(prefix.ljust(ITEM_DIGITS, "9")))
