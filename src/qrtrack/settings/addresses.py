"""Web addresses in settings. They are checked strictly, since the program appends paths to them."""

import re
from functools import partial
from ipaddress import IPv6Address
from typing import Annotated, Final

from pydantic import AfterValidator

LARGEST_PORT: Final = 65_535

_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"
_ORIGIN: Final = rf"https?://(?:{_LABEL}(?:\.{_LABEL})*\.?|\[(?P<six>[0-9a-f:.]+)\])(?::(?P<port>[0-9]{{1,5}}))?"
# RFC 3986, `pchar`. A query may also hold `/` and `?`.
_CHARACTER: Final = r"[a-z0-9._~!$&'()*+,;=:@-]|%[0-9a-f]{2}"
ORIGIN: Final = re.compile(_ORIGIN, re.ASCII | re.IGNORECASE)
# Without percent signs: in an address copied from a browser, %E2%80%8B would be an invisible character.
PRINTED: Final = re.compile(rf"{_ORIGIN}(?P<path>(?:/[a-z0-9._~-]+)*/?)", re.ASCII | re.IGNORECASE)
BASE: Final = re.compile(rf"{_ORIGIN}(?P<path>(?:/(?:{_CHARACTER})+)*/?)", re.ASCII | re.IGNORECASE)
WHOLE: Final = re.compile(rf"{BASE.pattern}(?:\?(?:{_CHARACTER}|[/?])*)?", re.ASCII | re.IGNORECASE)


def is_address(value: str, form: re.Pattern[str]) -> bool:
    found = form.fullmatch(value)
    if found is None or not 1 <= int(found["port"] or 443) <= LARGEST_PORT:
        return False
    # Returns whether the text is a web address. Dot segments are refused: browsers resolve them and would request
    # another path than the written one.
    if {".", ".."} & set(found.groupdict().get("path", "").split("/")):
        return False
    try:
        return found["six"] is None or bool(IPv6Address(found["six"]))
    except ValueError:
        return False


def _checked(value: str, form: re.Pattern[str]) -> str:
    """Returns the address without a slash at the end, because appended paths begin with one. Raises ValueError."""
    if is_address(value, form):
        return value.rstrip("/") if form is not WHOLE else value
    if "@" in value.partition("://")[2].partition("/")[0]:
        raise ValueError("it must not contain a user or a password: remove the text before the @")
    if "#" in value or ("?" in value and form is not WHOLE):
        raise ValueError("it must end with the path: remove the ? or # and the text after it")
    if not value.isascii():
        raise ValueError("it must be ASCII: write an international host name as xn--… and other letters as %…")
    if form is PRINTED:
        raise ValueError(
            "it must be a full address such as https://example.com or https://example.com/qr, "
            "its path of letters, digits and - . _ ~ only"
        )
    raise ValueError("it must be a full address such as https://example.com, without blanks and backslashes")


WebAddress = Annotated[str, AfterValidator(partial(_checked, form=WHOLE))]
"""An address that the program calls unchanged; it may have a query."""
BaseAddress = Annotated[str, AfterValidator(partial(_checked, form=BASE))]
"""An address that the program appends paths to."""
PrintedAddress = Annotated[str, AfterValidator(partial(_checked, form=PRINTED))]
"""The address at the beginning of QR symbols."""
