"""Reads labels as scanners and printers do: the symbols of a PDF, the fields of ZPL."""

import re
from collections.abc import Iterator
from typing import Final

import pypdfium2
import zxingcpp

# A page at 600 dpi has 35 million pixels, most of them white: points from the top that are looked at.
UPPER_PART: Final = 130 / 25.4 * 72
QR_ONLY: Final = zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCode)
FIELD: Final = re.compile(r"\^FO(\d+),(\d+)(?:\^BQN,2,(\d+)|\^A0N,(\d+),\d+)\^FH\^FD(.*?)\^FS", re.DOTALL)


def symbols_of(pdf: bytes, dpi: int = 203) -> Iterator[tuple[int, str]]:
    """Returns the page and the payload of each symbol. Above 300 dpi, only the upper 130 mm of a page are read."""
    for number, page in enumerate(pypdfium2.PdfDocument(pdf)):
        empty = max(page.get_height() - UPPER_PART, 0) if dpi > 300 else 0
        image = page.render(scale=dpi / 72, crop=(0, empty, 0, 0)).to_pil()
        for barcode in zxingcpp.read_barcodes(image, formats=QR_ONLY):
            yield number, barcode.text


def payloads_of(pdf: bytes) -> list[str]:
    return sorted(payload for _, payload in symbols_of(pdf))


def text_of(pdf: bytes) -> str:
    return "\n".join(page.get_textpage().get_text_range() for page in pypdfium2.PdfDocument(pdf))


def read_zpl(stream: str) -> list[tuple[int, int, int | None, str]]:
    """Returns the fields of a label: place, magnification of a symbol, and the data without escapes."""
    return [
        (int(x), int(y), int(magnification) if magnification else None,
         re.sub("_([0-9A-F]{2})", lambda found: chr(int(found[1], 16)), data))
        for x, y, magnification, _, data in FIELD.findall(stream)
    ]  # fmt: skip
