"""The content of the QR symbols, and their drawing. Other modules place them on labels and sheets, and answer scans."""

import io
import re
from datetime import date
from ipaddress import ip_address
from typing import Literal
from urllib.parse import quote, urlsplit

import segno

from qrtrack.domain.errors import FieldError, InvalidInput, InvalidState, invalid_field
from qrtrack.domain.field_codes import FieldCode

ErrorLevel = Literal["L", "M", "Q", "H"]
"""How much damage a symbol survives: 7, 15, 25 or 30 percent."""

QUIET_ZONE = 4
"""White modules around a symbol, as ISO/IEC 18004 requires."""

LOT_PATTERN = r"""^[!"%&'()*+,\-./0-9:;<=>?A-Z_a-z]{1,20}$"""
"""GS1 AI 10: up to 20 of character set 82. `.` and `..` are also refused: browsers drop them from a path."""

_GTIN_LENGTHS = (8, 12, 13, 14)
_LOT = re.compile(LOT_PATTERN)
_ALPHANUMERIC = re.compile(r"[0-9A-Z $%*+\-./:]+")


def has_check_digit(number: str, *, digits: int) -> bool:
    """Returns whether the text has this many digits and ends in its check digit (GS1 General Specifications, section
    7.9).
    """
    if len(number) != digits or not (number.isascii() and number.isdigit()):
        return False
    return (sum(map(int, number[::-2])) + 3 * sum(map(int, number[-2::-2]))) % 10 == 0


def valid_gtin14(gtin: str) -> bool:
    return has_check_digit(gtin, digits=14)


def normalise_gtin(gtin: str, *, field: str = "gtin") -> str:
    """Returns a GTIN-8, -12, -13 or -14 as the 14 digits of AI 01. Raises InvalidInput if the check digit is wrong."""
    padded = gtin.zfill(14)
    if len(gtin) not in _GTIN_LENGTHS or not valid_gtin14(padded):
        detail = (
            "A GTIN has 8, 12, 13 or 14 digits and ends in its check digit. Compare it with the one on the product."
        )
        raise invalid_field(f"/{field}", detail, FieldCode.BAD_GTIN)
    return padded


class AddressNotPublic(InvalidState):
    """PUBLIC_BASE_URL is a loopback address. A consumer's phone could not open the address in a printed symbol."""

    slug = "public-base-url-is-loopback"
    title = "The public address is not set"
    message = (
        "QR symbols would contain a loopback address, which no phone can open. Ask the operator of the service to "
        "set PUBLIC_BASE_URL to the public address, and print again."
    )


def check_printable(base_url: str) -> None:
    """Raises AddressNotPublic."""
    if is_loopback(base_url):
        raise AddressNotPublic


def is_loopback(base_url: str) -> bool:
    """Returns whether the address is a loopback address, which other machines cannot reach."""
    host = (urlsplit(base_url).hostname or "").rstrip(".")
    try:
        return ip_address(host).is_loopback or ip_address(host).is_unspecified
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def batch_payload(base_url: str, uniq_code: str) -> str:
    return f"{base_url.rstrip('/')}/q/{uniq_code}"


def unit_payload(
    base_url: str,
    uniq_code: str,
    code: str,
    *,
    gtin: str | None = None,
    lot: str | None = None,
    expires_on: date | None = None,
) -> str:
    """Returns the content of a unit's symbol. With a GTIN it is a GS1 Digital Link with its keys in the standard's
    order. Without a GTIN it contains no lot and no expiry.
    """
    if gtin is None:
        return f"{batch_payload(base_url, uniq_code)}/{_encoded(code)}"
    lot_path = "" if lot is None else f"/10/{_encoded(check_lot(lot))}"
    expiry = "" if expires_on is None else f"?17={expires_on:%y%m%d}"
    return f"{base_url.rstrip('/')}/01/{normalise_gtin(gtin)}{lot_path}/21/{_encoded(code)}{expiry}"


def printed(address: str) -> str:
    """Returns the address as symbols contain it. Scheme, host and `/q/` are in upper case if the whole address then
    fits QR's alphanumeric mode, which makes most symbols smaller. Values in the path never change, since they would
    name something else.
    """
    scheme, _, rest = address.partition("://")
    host, slash, path = rest.partition("/")
    upper = f"{scheme.upper()}://{host.upper()}{slash}" + (f"Q/{path[2:]}" if path.startswith("q/") else path)
    return upper if _ALPHANUMERIC.fullmatch(upper) else address


class SizeTooSmall(InvalidInput):
    """The image has fewer pixels than the symbol has modules."""

    def __init__(self, least: int) -> None:
        detail = f"The symbol has {least} modules with its border. Each module needs a pixel: ask for a larger size."
        super().__init__(detail, errors=[FieldError("/query/size", detail, FieldCode.TOO_SMALL, {"min": least})])


def draw_svg(
    payload: str, *, size: int | None = None, scale: float = 8, error: ErrorLevel = "M", border: int = QUIET_ZONE
) -> bytes:
    """Draws the symbol. `size` is the side of the image in pixels; without it, `scale` is the side of a module in
    pixels. `border` is the quiet zone in modules. The same input gives the same bytes. Raises SizeTooSmall.
    """
    return _drawn(payload, "svg", size=size, scale=scale, error=error, border=border)


def draw_png(
    payload: str, *, size: int | None = None, scale: int = 8, error: ErrorLevel = "M", border: int = QUIET_ZONE
) -> bytes:
    """Draws like draw_svg, but with whole pixels for each module, so the image may be smaller than `size`."""
    return _drawn(payload, "png", size=size, scale=scale, error=error, border=border)


def _drawn(
    payload: str, kind: Literal["svg", "png"], *, size: int | None, scale: float, error: ErrorLevel, border: int
) -> bytes:
    symbol = segno.make_qr(payload, error=error)
    if size is not None:
        modules, _ = symbol.symbol_size(border=border)
        if size < modules:
            raise SizeTooSmall(int(modules))
        scale = size / modules if kind == "svg" else size // modules
    image = io.BytesIO()
    # White is drawn, not transparent: a symbol on a dark web page would not scan.
    symbol.save(image, kind=kind, scale=scale, border=border, light="white")
    return image.getvalue()


def check_lot(lot: str) -> str:
    """Returns the lot if it is valid. Raises InvalidInput."""
    if lot in {".", ".."} or not _LOT.fullmatch(lot):
        detail = "A lot has 1 to 20 letters, digits and signs of the GS1 set, without blanks."
        raise invalid_field("/lot", detail, FieldCode.BAD_LOT)
    return lot


def _encoded(value: str) -> str:
    """Percent-encodes all characters of the GS1 set except letters, digits and `-._`, which URLs allow unencoded."""
    return quote(value, safe="")
