"""Reads GS1 element strings and Digital Links: the product, lot, serial and logistic unit that a GS1 symbol names. Only
the tests use the library biip, which knows every application identifier (AI): importing it takes 0.1 s and 16 MiB, it
is three times as slow, and in text with brackets it cuts a lot off at a bracket.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple
from urllib.parse import unquote

from qrtrack.domain.qr import LOT_PATTERN, has_check_digit

GS: Final = "\x1d"
"""The separator of element strings (FNC1), as scanners send it."""

_SSCC, _GTIN, _LOT, _SERIAL, _CPV, _TPX = "00", "01", "10", "21", "22", "235"
_KEPT: Final = frozenset({_SSCC, _GTIN, _LOT, _SERIAL})
# GS1 General Specifications, section 7.8: the lengths of element strings that need no separator, by the first two
# digits of their AI. GS1 adds no AI to this table. All other AIs begin with the digits in _VARIABLE, and need the
# separator.
_FIXED_LENGTHS: Final[Mapping[str, int]] = {
    "00": 20, "01": 16, "02": 16, "03": 16, "04": 18, "11": 8, "12": 8, "13": 8, "14": 8, "15": 8, "16": 8, "17": 8,
    "18": 8, "19": 8, "20": 4, "31": 10, "32": 10, "33": 10, "34": 10, "35": 10, "36": 10, "41": 16,
}  # fmt: skip
_VARIABLE: Final = frozenset(
    f"{number}" for number in (10, 21, 22, 23, 24, 25, 30, 37, 39, 40, 42, 43, 70, 71, 72, 80, 81, 82, *range(90, 100))
)
_QUALIFIERS: Final[Mapping[str, Sequence[str]]] = {_GTIN: (_CPV, _LOT, _SERIAL, _TPX), _SSCC: ()}
"""The path of a Digital Link: the primary key, and its qualifiers in the standard's order."""

_IN_BRACKETS: Final = re.compile(r"\(([0-9]{2,4})\)")
_VALUE: Final = re.compile(r"""[!"%&'()*+,\-./0-9:;<=>?A-Z_a-z]{1,90}""")
_LOT_VALUE: Final = re.compile(LOT_PATTERN)


class Gs1Keys(NamedTuple):
    """What a GS1 symbol names: a product (14 digits), with lot and serial if the symbol has them, or a logistic unit
    (18 digits).
    """

    gtin: str | None
    lot: str | None
    serial: str | None
    sscc: str | None

    def message(self) -> str:
        """Returns the same keys as the data of a GS1 symbol."""
        parts = {_SSCC: self.sscc, _GTIN: self.gtin, _LOT: self.lot and self.lot + GS, _SERIAL: self.serial}
        return GS + "".join(key + value for key, value in parts.items() if value).removesuffix(GS)


def read_element_strings(text: str) -> Gs1Keys | None:
    """Returns the keys of a GS1 message, or None if the text is not one or is damaged."""
    found = []
    while text:
        key = text[:2]
        if key not in _FIXED_LENGTHS and key not in _VARIABLE:
            return None
        length = _FIXED_LENGTHS.get(key)
        field = text.partition(GS)[0] if length is None else text[:length]
        if length not in {None, len(field)}:
            return None
        found.append((key, field[2:]))
        text = text[len(field) :].lstrip(GS)
    return _keys_among(found)


def read_bracketed(text: str) -> Gs1Keys | None:
    """Reads `(01)04006381333931(21)SKA000001`, the text that is printed under a symbol for people."""
    before, *parts = _IN_BRACKETS.split(text.replace(GS, ""))
    return None if before else _keys_among(zip(parts[::2], parts[1::2], strict=True))


def read_digital_link(path: str, query: str) -> Gs1Keys | None:
    """Reads a GS1 Digital Link (URI syntax 1.6). Any text may stand before the primary key, and attributes in the
    query. A GTIN-8, -12 or -13, which older links contain, is filled up with zeros to 14 digits.
    """
    segments = path.removesuffix("/").split("/")
    attributes = {part.partition("=")[0] for part in query.replace(";", "&").split("&")}
    for at, key in enumerate(segments):
        keys, values = segments[at::2], [unquote(value) for value in segments[at + 1 :: 2]]
        if key in _QUALIFIERS and len(keys) == len(values) and _is_sound_link(keys, attributes):
            if key == _GTIN and len(values[0]) in {8, 12, 13}:
                values[0] = values[0].zfill(14)
            if found := _keys_among(zip(keys, values, strict=True)):
                return found
    return None


def _is_sound_link(keys: Sequence[str], attributes: set[str]) -> bool:
    """Returns whether the qualifiers are in the standard's order, and the query contains no key."""
    primary, *others = keys
    remaining = iter(_QUALIFIERS[primary])
    return all(key in remaining for key in others) and attributes.isdisjoint({primary, *_QUALIFIERS[primary]})


def _keys_among(elements: Iterable[tuple[str, str]]) -> Gs1Keys | None:
    """Returns the keys, or None if a value does not fit its AI, an AI has two values, or there is no key."""
    values: dict[str, str] = {}
    for key, value in elements:
        if not _VALUE.fullmatch(value) or (key in _KEPT and values.setdefault(key, value) != value):
            return None
    found = Gs1Keys(*(values.get(key) for key in (_GTIN, _LOT, _SERIAL, _SSCC)))
    return found if _is_sound(found) else None


def _is_sound(found: Gs1Keys) -> bool:
    """Returns whether the keys are valid and complete: a serial needs its product, and a lot needs a product or an
    SSCC.
    """
    if found.gtin is None:
        return found.serial is None and found.sscc is not None and has_check_digit(found.sscc, digits=18)
    return (
        has_check_digit(found.gtin, digits=14)
        and (found.sscc is None or has_check_digit(found.sscc, digits=18))
        and (found.lot is None or _LOT_VALUE.fullmatch(found.lot) is not None)
    )
