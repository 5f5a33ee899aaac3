"""Writes PDF files of labels, page by page: memory does not grow with the number of labels.

The module replaces reportlab: it draws a symbol with one `cm` (scaling) and one filled path of whole modules, which is
8 times as fast as reportlab's paths and takes a sixth of the space.
"""

import zlib
from collections.abc import Sequence
from typing import Final

from qrtrack.domain.labels.formats import UNCALIBRATED, Calibration
from qrtrack.domain.labels.labels import PlacedLabel
from qrtrack.domain.labels.layouts import LINE

POINTS: Final = 72 / 25.4
"""Points in a millimetre."""
# Courier's ascent above the baseline, as a fraction of the type size.
BASELINE: Final = 0.80
_ESCAPES: Final = {ord("\\"): b"\\\\", ord("("): b"\\(", ord(")"): b"\\)"}

CATALOGUE, PAGES, FONT, FIRST_OF_PAGES = 1, 2, 3, 4
PREAMBLE: Final = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"
# PDF readers must not scale pages to the paper: labels would be up to 4 % off their place.
CATALOGUE_OBJECT: Final = (
    b"1 0 obj\n<</Type/Catalog/Pages 2 0 R/ViewerPreferences<</PrintScaling/None>>>>\nendobj\n"  # the numbers above
)
FONT_OBJECT: Final = b"3 0 obj\n<</Type/Font/Subtype/Type1/BaseFont/Courier-Bold/Encoding/WinAnsiEncoding>>\nendobj\n"
HEADER: Final = PREAMBLE + CATALOGUE_OBJECT + FONT_OBJECT


class PdfWriter:
    """Writes a document of pages of one size: call `page` for each page, then `close`.

    With the `position` and `offsets` of an earlier writer it continues that file. `offsets` are the positions of the
    objects of its pages, two for each page.
    """

    def __init__(self, size: tuple[float, float], *, position: int = 0, offsets: Sequence[int] = ()) -> None:
        self.position = position
        self.offsets = list(offsets)
        self._height = size[1]
        self._box = b"[0 0 %s %s]" % (_number(size[0] * POINTS), _number(size[1] * POINTS))

    def page(self, content: bytes) -> bytes:
        """Returns one page. `content`: operators in millimetres from the upper left corner, y downwards."""
        header = self._header()
        packed = zlib.compress(self._to_millimetres() + content)
        number = FIRST_OF_PAGES + len(self.offsets)
        stream = self._object(number, b"<</Length %d/Filter/FlateDecode>>stream\n%s\nendstream" % (len(packed), packed))
        page = self._object(
            number + 1,
            b"<</Type/Page/Parent %d 0 R/MediaBox%s/Contents %d 0 R/Resources<</Font<</F %d 0 R>>>>>>"
            % (PAGES, self._box, number, FONT),
        )
        return header + stream + page

    def close(self) -> bytes:
        """Returns the list of pages and the table of offsets, which complete the PDF."""
        header = self._header()
        pages_at, count = self.position, len(self.offsets) // 2
        kids = b" ".join(b"%d 0 R" % (FIRST_OF_PAGES + 1 + 2 * page) for page in range(count))
        pages = b"%d 0 obj\n<</Type/Pages/Count %d/Kids[%s]>>\nendobj\n" % (PAGES, count, kids)
        self.position += len(pages)
        entries = [len(PREAMBLE), pages_at, len(PREAMBLE) + len(CATALOGUE_OBJECT), *self.offsets]
        table = b"xref\n0 %d\n0000000000 65535 f \n%s" % (
            len(entries) + 1,
            b"".join(b"%010d 00000 n \n" % entry for entry in entries),
        )
        trailer = b"trailer\n<</Size %d/Root %d 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (
            len(entries) + 1, CATALOGUE, self.position,
        )  # fmt: skip
        return header + pages + table + trailer

    def _header(self) -> bytes:
        if self.position:
            return b""
        self.position = len(HEADER)
        return HEADER

    def _to_millimetres(self) -> bytes:
        scale = _number(POINTS, 6)
        return b"%s 0 0 -%s 0 %s cm\n" % (scale, scale, _number(self._height * POINTS))

    def _object(self, number: int, body: bytes) -> bytes:
        self.offsets.append(self.position)
        written = b"%d 0 obj\n%s\nendobj\n" % (number, body)
        self.position += len(written)
        return written


def draw_page(
    labels: Sequence[PlacedLabel], origins: Sequence[tuple[float, float]], calibration: Calibration = UNCALIBRATED
) -> bytes:
    drawn = [draw_label(label, origin) for label, origin in zip(labels, origins, strict=False)]
    return b"".join([_corrected(calibration), *drawn])


def draw_label(label: PlacedLabel, origin: tuple[float, float]) -> bytes:
    left, top = origin
    layout, symbol = label.layout, label.symbol
    module = _number(layout.module, 5)
    path = b"".join(b"%d %d %d %d re\n" % rectangle for rectangle in symbol.rectangles())
    drawn = b"q %s 0 0 %s %s %s cm\n%sf Q\n" % (
        module, module, _number(left + layout.x), _number(top + layout.y), path,
    )  # fmt: skip
    return drawn + draw_lines(label.lines, left + layout.text_x, top + layout.text_y, layout.type_size)


def draw_lines(lines: Sequence[str], x: float, y: float, type_size: float) -> bytes:
    """Draws lines of text. The page's y axis points downwards, so the text matrix turns the text upright again."""
    if not lines:
        return b""
    size = _number(type_size)
    drawn = [b"BT /F %s Tf" % size]
    for place, line in enumerate(lines):
        baseline = y + type_size * (BASELINE + place * LINE)
        drawn.append(b"1 0 0 -1 %s %s Tm (%s) Tj" % (_number(x), _number(baseline), _escaped(line)))
    return b"\n".join([*drawn, b"ET\n"])


def _escaped(text: str) -> bytes:
    """Escapes a text for PDF. Characters that Courier cannot show become question marks."""
    return b"".join(_ESCAPES.get(byte, bytes([byte])) for byte in text.encode("cp1252", "replace"))


def _corrected(calibration: Calibration) -> bytes:
    if calibration == UNCALIBRATED:
        return b""
    return b"%s 0 0 %s %s %s cm\n" % (
        _number(calibration.scale_x, 6), _number(calibration.scale_y, 6),
        _number(calibration.dx), _number(calibration.dy),
    )  # fmt: skip


def _number(value: float, places: int = 4) -> bytes:
    return f"{value:.{places}f}".rstrip("0").rstrip(".").encode()
