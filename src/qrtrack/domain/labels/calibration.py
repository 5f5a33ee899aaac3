"""The calibration page of a format: the outlines of its labels, and rulers of up to 100 mm to measure on the print."""

from typing import Final

from qrtrack.domain.labels.formats import LabelFormat
from qrtrack.domain.labels.pdf import PdfWriter

RULER: Final = 100
LINE_WIDTH: Final = 0.1
TICK: Final = 10


def rulers_of(label_format: LabelFormat) -> tuple[int, int]:
    """Returns the lengths of the rulers across and down: 100 mm, or as many whole centimetres as fit on the page."""
    width, height = label_format.page
    return min(RULER, int(width // TICK) * TICK), min(RULER, int(height // TICK) * TICK)


def draw_calibration(label_format: LabelFormat) -> bytes:
    """Draws a PDF of one page."""
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
    page = writer.page("\n".join([f"{LINE_WIDTH} w", *outlines, *rulers, "S\n"]).encode())
    return page + writer.close()


def _ruler(start: tuple[float, float], along: tuple[int, int], length: int) -> list[str]:
    """Draws a line with a mark every 10 mm."""
    x, y = start
    right, down = along
    drawn = [f"{x:.4f} {y:.4f} m {x + length * right:.4f} {y + length * down:.4f} l"]
    for at in range(0, length + 1, TICK):
        mark_x, mark_y = x + at * right, y + at * down
        drawn.append(f"{mark_x - down:.4f} {mark_y - right:.4f} m {mark_x + down:.4f} {mark_y + right:.4f} l")
    return drawn
