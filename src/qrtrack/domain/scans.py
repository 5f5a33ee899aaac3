"""Reads scans. All codes, symbols and addresses from scanners and people are read here. `read_scan` never fails: text
that names nothing of this service has the kind TEXT or ADDRESS. A caller that needs a unit or a case refuses these
kinds with its own message. Whether a code exists is decided elsewhere.
"""

import re
from enum import StrEnum
from typing import Final, NamedTuple
from urllib.parse import unquote

from qrtrack.domain.gs1 import GS, Gs1Keys, read_bracketed, read_digital_link, read_element_strings
from qrtrack.domain.packing.numbering import CODE_PATTERN, parse_serial
from qrtrack.domain.qr import has_check_digit
from qrtrack.domain.root_keys import ALPHABET

SCAN_LIMIT: Final = 400
"""The longest scan in characters. Our longest address has about 200, and a scanner may send it twice."""

_LONGEST_CODE: Final = 20
_CODE: Final = re.compile(CODE_PATTERN)
# ASCII only: upper-casing would turn the long s, the dotless i or a ligature into letters of a code.
_PLAIN_CODE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._]{0,19}")
_OUR_MASTER_CODE: Final = re.compile(rf"[{ALPHABET}]{{12}}-C[0-9]{{4,7}}", re.IGNORECASE | re.ASCII)
_VISIBLE: Final = re.compile(r"[!-~]+")
# Matches most scans: text to which the scanner added no character. The scanner may still have sent it twice.
_CLEAN: Final = re.compile(r"[A-Za-z0-9][!-)+-;=?-Z_a-z~]*")

# Scanners send the separator of GS1 symbols as the control character GS, or spell it.
_SPELLED_GS: Final = re.compile(r"[<{\[](?:GS|FNC1)[>}\]]|\^\]|\\x1D|\\u001D|\u241d", re.IGNORECASE)
_BLANKS: Final = "".join(map(chr, [*range(0x21), 0x7F, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029]))
_LINE_ENDS: Final = re.compile(r"[\r\n\t]+")
# AIM symbology identifiers (ISO/IEC 15424). Those of GS1 symbols mean that the data begins with FNC1.
_PREFIX: Final = re.compile(rf"(?:[{_BLANKS}]|\][A-Za-z][0-9A-Za-z])*+")
_GS1_MARK: Final = re.compile(r"\x1d|\](?:C1|e0|d2|Q3|J1)", re.IGNORECASE)
_CODE_39: Final = re.compile(r"\*([^*]+)\*")

_ADDRESS: Final = re.compile(r"(?:(https?)://)?[^/?#]*(/[^?#]*)?(?:\?([^#]*))?(?:#.*)?", re.IGNORECASE)
_ENCODED_ADDRESS: Final = re.compile(r"https?%3A%2F%2F", re.IGNORECASE)
_OF_BATCH: Final = re.compile(rf"/q/([{ALPHABET}]{{12}})(?:/([^/]+))?/?\Z", re.IGNORECASE)


class ScanKind(StrEnum):
    """The kind of thing that a scan names."""

    CODE = "code"
    """A text that may be the code of a unit, or a master code."""
    UNIT = "unit"
    """The symbol of one unit, which also names its batch or product."""
    BATCH = "batch"
    """The symbol of a whole batch or product."""
    LOGISTIC_UNIT = "logistic-unit"
    """A symbol that contains an SSCC and names no product."""
    ADDRESS = "address"
    """A web address that names no unit, batch or product."""
    TEXT = "text"
    """Anything else, such as a product name or a damaged scan."""


class Scan(NamedTuple):
    """`text` is the scan without what the scanner added; reading `text` again gives the same result.

    `code` is in upper case, `gtin` has 14 digits. `sscc` has 18; a bare number may be both a code and an SSCC.
    """

    kind: ScanKind
    text: str
    code: str | None = None
    uniq_code: str | None = None
    gtin: str | None = None
    lot: str | None = None
    sscc: str | None = None


def read_scan(text: str) -> Scan:
    text = unwrap(text)
    if len(text) > SCAN_LIMIT:
        return Scan(ScanKind.TEXT, text)
    if _ENCODED_ADDRESS.match(text):
        text = unquote(text)
    is_gs1 = text.startswith(GS)
    bare = text.removeprefix(GS)
    if "/" in bare and _VISIBLE.fullmatch(bare) and (scan := _read_address(bare)):
        return scan
    if is_gs1 or bare.startswith("(") or len(bare) > _LONGEST_CODE:
        keys = read_bracketed(bare) if bare.startswith("(") else read_element_strings(bare)
        if scan := _of_gs1(keys):
            return scan._replace(text=Gs1Keys(scan.gtin, scan.lot, scan.code, scan.sscc).message())
    return Scan(ScanKind.TEXT, text) if is_gs1 else _read_code(text)


def plain_code(text: str) -> str | None:
    """Returns the code if the text is a plain code, or None: then `read_scan` decides. This is the fast path for long
    lists.
    """
    half = len(text) // 2
    return text.upper() if _PLAIN_CODE.fullmatch(text) and text[:half] != text[half:] else None


def read_code(text: str) -> str:
    """Returns the code in a scan of a unit. Returns any other text in its normal form, which matches no unit."""
    scan = read_scan(text)
    return scan.code or _upper(scan.text)


def read_master_code(text: str) -> str:
    """Returns the master code in a scan of a case. Returns any other text in its normal form, which matches no case."""
    if _OUR_MASTER_CODE.fullmatch(text):
        return text.upper()
    scan = read_scan(text)
    return scan.sscc or scan.code or _upper(scan.text)


def read_uniq_code(text: str) -> str:
    """Returns the uniq code in a scan of a batch, or of a unit whose symbol names its batch. Returns any other text in
    its normal form, which matches no batch.
    """
    scan = read_scan(text)
    return scan.uniq_code or _upper(scan.text)


def reads_as_twice(code: str) -> bool:
    """Returns whether the code would be read as a shorter code that arrived twice."""
    return _halved(code) != code


def unwrap(text: str) -> str:
    """Returns the scan without the AIM identifier, the control characters, blanks and stars around it, and a
    repetition. A scan of a GS1 symbol keeps one GS at its beginning, which distinguishes GS1 data from a code.
    """
    if _CLEAN.fullmatch(text):
        return _halved(text)
    text = _SPELLED_GS.sub(GS, text)
    while (inner := _without_wrapping(text)) != text:
        text = inner
    return text


def _without_wrapping(text: str) -> str:
    text = _once(text.rstrip(_BLANKS))
    prefix = _PREFIX.match(text)
    assert prefix is not None
    rest = _once(text[prefix.end() :])
    if starred := _CODE_39.fullmatch(rest):
        rest = starred[1]
    return GS + rest if rest and _GS1_MARK.search(prefix[0]) else rest


def _once(text: str) -> str:
    """Returns the value once if it arrived twice, in two lines or in one: a scanner with two keyboard channels or a
    double trigger sends it twice.
    """
    lines = _LINE_ENDS.split(text)
    return lines[0] if len(lines) == 2 and lines[0] == lines[1] else _halved(text)


def _halved(text: str) -> str:
    """Returns the half of a text that consists of two equal halves. Text that may be a code is halved only if it is no
    serial and its half is one, because `ABAB` may be a code. Text that repeats three times or more is no double scan
    and stays.
    """
    half = text[: len(text) // 2]
    if half + half != text or half[: len(half) // 2] * 2 == half:
        return text
    if len(text) <= _LONGEST_CODE and (parse_serial(_upper(text)) or not parse_serial(_upper(half))):
        return text
    return half


def _upper(text: str) -> str:
    """Converts to upper case, as codes are, whatever Caps Lock did."""
    return text.upper() if text.isascii() else text


def _read_code(text: str) -> Scan:
    code = _upper(text)
    if not _CODE.fullmatch(code):
        return Scan(ScanKind.TEXT, text)
    number = code.removeprefix("00") if len(code) == 20 else code
    return Scan(ScanKind.CODE, code, code=code, sscc=number if has_check_digit(number, digits=18) else None)


def _read_address(text: str) -> Scan | None:
    """Returns the scan of an address, or None if the text only contains a slash and is no address."""
    parts = _ADDRESS.fullmatch(text)
    assert parts is not None
    scheme, path, query = parts[1], parts[2] or "", parts[3] or ""
    scan = _of_batch(path) or _of_gs1(read_digital_link(path, query))
    if scan is None and scheme:
        return Scan(ScanKind.ADDRESS, text)
    return scan and scan._replace(text=text)


def _of_batch(path: str) -> Scan | None:
    found = _OF_BATCH.search(path)
    if found is None:
        return None
    uniq_code = found[1].upper()
    if found[2] is None:
        return Scan(ScanKind.BATCH, "", uniq_code=uniq_code)
    code = _upper(unquote(found[2]))
    return Scan(ScanKind.UNIT, "", code=code, uniq_code=uniq_code) if _CODE.fullmatch(code) else None


def _of_gs1(keys: Gs1Keys | None) -> Scan | None:
    """Returns the scan of GS1 keys, or None if there are no keys, or the serial cannot be a code of this service."""
    if keys is None:
        return None
    code = keys.serial and _upper(keys.serial)
    if code and not _CODE.fullmatch(code):
        return None
    kind = ScanKind.UNIT if code else ScanKind.BATCH if keys.gtin else ScanKind.LOGISTIC_UNIT
    return Scan(kind, "", code=code, gtin=keys.gtin, lot=keys.lot, sscc=keys.sscc)
