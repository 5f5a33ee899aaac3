"""The calibration page of a format: the outlines of its labels, rulers of up to 100 mm to measure on the print, and
what to measure.
"""

from collections.abc import Mapping
from textwrap import wrap
from typing import Final

from qrtrack.domain.labels.formats import LabelFormat
from qrtrack.domain.labels.layouts import ADVANCE, LINE, SMALLEST_TYPE
from qrtrack.domain.labels.pdf import PdfWriter, draw_lines

RULER: Final = 100
LINE_WIDTH: Final = 0.1
TICK: Final = 10
WORDS: Final[Mapping[str, str]] = {
    "en": "Measure the rulers: {across} mm across, {down} mm down. Compare the outlines with the labels.",
    "id": "Ukur penggaris: {across} mm mendatar, {down} mm tegak. Bandingkan garis tepi dengan label.",
}
"""What to do with the print, by language."""
LARGEST_TYPE: Final = 2.5
LINE_LENGTH: Final = 33
"""Characters in a line of the words."""


def rulers_of(label_format: LabelFormat) -> tuple[int, int]:
    """Returns the lengths of the rulers across and down: 100 mm, or as many whole centimetres as fit on the page."""
    width, height = label_format.page
    return min(RULER, int(width // TICK) * TICK), min(RULER, int(height // TICK) * TICK)


def draw_calibration(label_format: LabelFormat, language: str = "en") -> bytes:
    """Draws a PDF of one page, with words in the language."""
    writer = PdfWriter(label_format.page)
    outlines = [
        f"{x:.4f} {y:.4f} {label_format.width:.4f} {label_format.height:.4f} re" for x, y in label_format.origins()
    ]
    across, down = rulers_of(label_format)
    middle_x, middle_y = (side / 2 for side in label_format.page)
    rulers = [
        *_ruler((middle_x - across / 2, middle_y), (1, 0), across),
        *_ruler((middle_x, middle_y - down / 2), (0, 1), down),
    ]
    lines = "\n".join([f"{LINE_WIDTH} w", *outlines, *rulers, "S\n"]).encode()
    page = writer.page(lines + _words(WORDS[language].format(across=across, down=down), label_format.page, across))
    return page + writer.close()


def _words(words: str, page: tuple[float, float], across: int) -> bytes:
    """Draws the words above the ruler across: at the left of the ruler down, or over it where the page is small. On the
    smallest pages there is no room for legible words.
    """
    left, width = ((page[0] - RULER) / 2 + 1, RULER / 2 - 2) if across == RULER else (1.0, page[0] - 2)
    type_size = min(LARGEST_TYPE, width / (ADVANCE * LINE_LENGTH))
    if type_size < SMALLEST_TYPE:
        return b""
    lines = wrap(words, LINE_LENGTH)
    return draw_lines(lines, left, page[1] / 2 - 2 - LINE * type_size * len(lines), type_size)


def _ruler(start: tuple[float, float], along: tuple[int, int], length: int) -> list[str]:
    """Draws a line with a mark every 10 mm."""
    x, y = start
    right, down = along
    drawn = [f"{x:.4f} {y:.4f} m {x + length * right:.4f} {y + length * down:.4f} l"]
    for at in range(0, length + 1, TICK):
        mark_x, mark_y = x + at * right, y + at * down
        drawn.append(f"{mark_x - down:.4f} {mark_y - right:.4f} m {mark_x + down:.4f} {mark_y + right:.4f} l")
    return drawn
