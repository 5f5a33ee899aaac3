"""Codes that a mistyped text may have meant."""

import re
from collections.abc import Sequence
from typing import Final

from qrtrack.domain.packing.numbering import FIRST_NUMBER, serial

_DIGITS_READ_AS_LETTERS: Final = str.maketrans("OILSBZ", "011582")
_PREFIX: Final = re.compile(r"[A-Z0-9]{0,7}[A-Z]")
_NUMBER: Final = re.compile(r"[0-9OILSBZ]{1,12}")
_CASE: Final = re.compile(r"([A-Z0-9]{12})C?([0-9]{1,7})")
_SEPARATORS: Final = re.compile(r"[\s._-]+")


def near_codes(text: str) -> Sequence[str]:
    """Returns codes and master codes that the text may stand for: with the missing zeros, and with digits instead of
    letters that look like them. The caller must look up which of them exist.
    """
    plain = _SEPARATORS.sub("", text).upper()
    near = [_serial(plain[:at], plain[at:]) for at in range(1, min(len(plain), 9))]
    if case := _CASE.fullmatch(plain):
        near.append(f"{case[1]}-C{int(case[2]):04d}")
    return [code for code in dict.fromkeys(near) if code and code != text]


def _serial(prefix: str, tail: str) -> str | None:
    if not (_PREFIX.fullmatch(prefix) and _NUMBER.fullmatch(tail)):
        return None
    number = int(tail.translate(_DIGITS_READ_AS_LETTERS))
    return serial(prefix, number) if number >= FIRST_NUMBER else None
