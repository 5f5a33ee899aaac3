"""Small pictures of label formats, measured in millimetres. Templates draw them as SVG."""

from typing import Final, NamedTuple

from qrtrack.domain.labels.calibration import rulers_of
from qrtrack.domain.labels.formats import LabelFormat, Roll, format_of
from qrtrack.services.labels.label_formats import ListedFormat

LINER: Final = 2.0
"""The picture of a roll shows this many millimetres of liner around the labels."""
ROWS_OF_ROLL: Final = 2


class Picture(NamedTuple):
    """A sheet, or a piece of a roll. `x` and `y` are the upper left corner of the first label."""

    width: float
    height: float
    x: float
    y: float
    pitch_x: float
    pitch_y: float
    columns: int
    rows: int
    label_width: float
    label_height: float


class Offer(NamedTuple):
    """A format that the page offers. `rulers` are the lengths of the two rulers on its calibration page."""

    name: str
    is_preset: bool
    is_sheet: bool
    labels_per_page: int
    rulers: tuple[int, int]
    picture: Picture


def offer_of(listed: ListedFormat) -> Offer:
    label_format = format_of(listed.label_format)
    return Offer(
        listed.name,
        listed.is_preset,
        not isinstance(label_format, Roll),
        label_format.labels_per_page,
        rulers_of(label_format),
        picture_of(label_format),
    )


def picture_of(label_format: LabelFormat) -> Picture:
    width, height = label_format.page
    if isinstance(label_format, Roll):
        pitch_y = label_format.height + LINER
        return Picture(
            width + 2 * LINER, ROWS_OF_ROLL * pitch_y + LINER, LINER, LINER, label_format.width + label_format.gap,
            pitch_y, label_format.across, ROWS_OF_ROLL, label_format.width, label_format.height,
        )  # fmt: skip
    return Picture(
        width, height, label_format.left, label_format.top, label_format.pitch_x, label_format.pitch_y,
        label_format.columns, label_format.rows, label_format.width, label_format.height,
    )  # fmt: skip
