"""ZPL II for label printers. The printer draws the symbol itself, from the payload, the level and the module size in
dots.

Source: Zebra, ZPL II Programming Guide, ^BQ, ^FH, ^CI, ^PW, ^LL.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final, Literal

from qrtrack.domain.labels.formats import UNCALIBRATED, Calibration
from qrtrack.domain.labels.labels import PlacedLabel
from qrtrack.domain.labels.layouts import LINE

Dpi = Literal[203, 300, 600]

# Printers draw a QR symbol (^BQ) lower by the bar height that ^BY sets. So each label sets this height, and y is
# smaller by it.
BAR_HEIGHT: Final = 10
_SPECIAL: Final = re.compile(r"[\x00-\x1f\x7f^~_]")


def draw_row(
    size: tuple[float, float],
    labels: Sequence[PlacedLabel],
    origins: Sequence[tuple[float, float]],
    *,
    dpi: Dpi,
    calibration: Calibration = UNCALIBRATED,
) -> bytes:
    """Returns one `^XA … ^XZ` for the labels that lie side by side on the roll. `size` is the size of this row, in
    millimetres.

    The labels were laid out in whole dots of `dpi`.
    """
    width, length = (round(side * dpi / 25.4) for side in size)
    parts = [f"^XA^CI28^PW{width}^LL{length}^LH0,0^PR2"]
    for label, origin in zip(labels, origins, strict=False):
        parts += _label(label, origin, dpi, calibration)
    return "".join([*parts, "^XZ\r\n"]).encode()


def _label(label: PlacedLabel, origin: tuple[float, float], dpi: Dpi, calibration: Calibration) -> Iterator[str]:
    layout, symbol = label.layout, label.symbol

    def dots(x: float, y: float) -> tuple[int, int]:
        across = (origin[0] + x) * calibration.scale_x + calibration.dx
        down = (origin[1] + y) * calibration.scale_y + calibration.dy
        return max(round(across * dpi / 25.4), 0), max(round(down * dpi / 25.4), 0)

    x, y = dots(layout.x, layout.y)
    magnification = round(layout.module * dpi / 25.4)
    yield f"^BY2,3,{BAR_HEIGHT}^FO{x},{max(y - BAR_HEIGHT, 0)}^BQN,2,{magnification}"
    yield f"^FH^FD{symbol.error}A,{_escaped(symbol.payload)}^FS"
    size = max(round(layout.type_size * dpi / 25.4), 1)
    for place, line in enumerate(label.lines):
        x, y = dots(layout.text_x, layout.text_y + place * layout.type_size * LINE)
        yield f"^FO{x},{y}^A0N,{size},{size}^FH^FD{_escaped(line)}^FS"


def _escaped(text: str) -> str:
    """Writes characters that ZPL interprets, and control characters, as `_hh`."""
    return _SPECIAL.sub(lambda found: f"_{ord(found[0]):02X}", text)
