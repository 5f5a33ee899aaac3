"""Places symbol and text on a label so that the symbol can be scanned: module size, quiet zone, cut tolerance.

Lengths are millimetres from the label's upper left corner, y downwards.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from qrtrack.domain.errors import FieldError, InvalidInput
from qrtrack.domain.field_codes import FieldCode
from qrtrack.domain.labels.formats import PRESETS, LabelFormat
from qrtrack.domain.qr import QUIET_ZONE

MODULE: Final = 0.33
"""The smallest module that hand scanners read on printed labels."""
MODULE_AT_TILLS: Final = 0.396
"""GS1 General Specifications, symbols scanned in retail."""
LARGEST_MODULE: Final = 1.0
CUT_TOLERANCE: Final = 0.5
"""A die may cut this many millimetres from the label's edge."""
ADVANCE: Final = 0.6
"""Width of a Courier character, as a fraction of the type size."""
LINE: Final = 1.15
"""Distance between lines, as a fraction of the type size."""
SMALLEST_TYPE: Final = 1.4
LARGEST_TYPE: Final = 5.0
TEXT_GAP: Final = 0.5


@dataclass(frozen=True, slots=True)
class Layout:
    """Positions on a label. `x`, `y`: the symbol's corner without its quiet zone. `text_x`, `text_y`: the corner of the
    first line.
    """

    module: float
    x: float
    y: float
    text_x: float
    text_y: float
    type_size: float


@dataclass(frozen=True, slots=True)
class Resolution:
    """The resolution of a printer. A ZPL printer draws whole dots. Without `dpi` any length can be drawn (PDF)."""

    dpi: int | None = None

    @property
    def largest_module(self) -> float:
        """The largest module in millimetres: ZPL printers draw modules of up to 10 dots (^BQ)."""
        return LARGEST_MODULE if self.dpi is None else min(LARGEST_MODULE, 10 * 25.4 / self.dpi)

    def floor(self, length: float) -> float:
        """Rounds the length down to whole dots. A length that is less than 1 % of a dot short of a whole dot counts as
        whole: 0.375 mm are 3 dots at 203 dpi.
        """
        if self.dpi is None:
            return length
        return math.floor(length * self.dpi / 25.4 + 0.01) * 25.4 / self.dpi

    def ceil(self, length: float) -> float:
        """Rounds the length up to whole dots."""
        return length if self.dpi is None else math.ceil(length * self.dpi / 25.4 - 0.01) * 25.4 / self.dpi


class LabelTooSmall(InvalidInput):
    """The label is too small for a symbol with legible modules, its quiet zone and the text."""

    slug = "label-too-small"
    title = "The label is too small for its symbol and text"


def lay_out(
    size: tuple[float, float], modules: int, lines: Sequence[str], *, at_tills: bool, resolution: Resolution
) -> Layout:
    """Returns the layout with the larger symbol: with the text under the symbol, or with the text beside it.

    `modules` is the side of the symbol without its quiet zone. Raises LabelTooSmall.
    """
    layout = _best(size, modules, lines, at_tills=at_tills, resolution=resolution)
    if layout is None:
        raise _too_small(size, modules, lines, at_tills=at_tills, resolution=resolution)
    return layout


def _best(
    size: tuple[float, float], modules: int, lines: Sequence[str], *, at_tills: bool, resolution: Resolution
) -> Layout | None:
    least = MODULE_AT_TILLS if at_tills else MODULE
    found = (_layout(size, modules, lines, beside=beside, resolution=resolution) for beside in (False, True))
    legible = [layout for layout in found if layout is not None and layout.module >= least - 0.001]
    return max(legible, key=lambda layout: layout.module, default=None)


def _layout(
    size: tuple[float, float], modules: int, lines: Sequence[str], *, beside: bool, resolution: Resolution
) -> Layout | None:
    width, height = (length - 2 * CUT_TOLERANCE for length in size)
    side = modules + 2 * QUIET_ZONE
    longest = max((len(line) for line in lines), default=0)
    least_text = (ADVANCE * SMALLEST_TYPE * longest + TEXT_GAP if beside else LINE * SMALLEST_TYPE * len(lines)) * bool(
        lines
    )
    room = (width - least_text, height) if beside else (width, height - least_text)
    module = resolution.floor(min(*room, resolution.largest_module * side) / side)
    if module <= 0:
        return None
    edge = module * side
    text_room = (width - edge - TEXT_GAP, height) if beside else (width, height - edge)
    type_size = LARGEST_TYPE if not lines else min(
        text_room[0] / (ADVANCE * longest), text_room[1] / (LINE * len(lines)), LARGEST_TYPE
    )  # fmt: skip
    if lines and type_size < SMALLEST_TYPE - 0.001:
        return None
    text_width, text_height = ADVANCE * type_size * longest, LINE * type_size * len(lines)
    if beside:
        left, top = (width - edge - TEXT_GAP - text_width) / 2, (height - edge) / 2
        text_x, text_y = left + edge + TEXT_GAP, (height - text_height) / 2
    else:
        left, top = (width - edge) / 2, (height - edge - text_height) / 2
        text_x, text_y = (width - text_width) / 2, top + edge
    quiet = QUIET_ZONE * module
    return Layout(
        module,
        resolution.floor(CUT_TOLERANCE + left + quiet),
        resolution.floor(CUT_TOLERANCE + top + quiet),
        CUT_TOLERANCE + text_x,
        CUT_TOLERANCE + text_y,
        type_size,
    )


def _too_small(
    size: tuple[float, float], modules: int, lines: Sequence[str], *, at_tills: bool, resolution: Resolution
) -> LabelTooSmall:
    fitting = [
        name
        for name, preset in PRESETS.items()
        if _best(size_of(preset), modules, lines, at_tills=at_tills, resolution=resolution)
    ]
    least = MODULE_AT_TILLS if at_tills else MODULE
    symbol = (modules + 2 * QUIET_ZONE) * resolution.ceil(least)
    longest = max((len(line) for line in lines), default=0)
    needed = {
        "width": math.ceil(max(symbol, ADVANCE * SMALLEST_TYPE * longest) + 2 * CUT_TOLERANCE),
        "height": math.ceil(symbol + LINE * SMALLEST_TYPE * len(lines) + 2 * CUT_TOLERANCE),
    }
    advice = f"Take one of {', '.join(fitting)}, or" if fitting else "Take"
    detail = (
        f"A label of {size[0]:g} x {size[1]:g} mm is too small for the symbol ({modules} x {modules} modules of at "
        f"least {least} mm) and its text. {advice} labels of at least {needed['width']} x {needed['height']} mm."
    )
    return LabelTooSmall(
        detail, errors=[FieldError("/preset", detail, FieldCode.LABEL_TOO_SMALL, needed | {"presets": fitting})]
    )


def size_of(label: LabelFormat) -> tuple[float, float]:
    return label.width, label.height
