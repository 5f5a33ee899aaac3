"""Label formats: sheets and rolls, in millimetres. The origin is the upper left corner of the sheet or of the roll."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from qrtrack.domain.errors import invalid_field
from qrtrack.domain.field_codes import FieldCode

A4: Final = (210.0, 297.0)
MOST_LABELS_ON_PAGE: Final = 500
FORMATS_OF_ORGANISATION: Final = 100
NAME_PATTERN: Final = r"^[a-z0-9][a-z0-9-]{0,39}$"
TOLERANCE: Final = 0.005
"""Half of the accuracy with which labels are placed, in millimetres."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """Labels in rows on a page. `left` and `top` are the margins. A pitch is the distance between the origins of
    neighbours.
    """

    width: float
    height: float
    columns: int
    rows: int
    left: float
    top: float
    pitch_x: float
    pitch_y: float
    page: tuple[float, float] = A4

    @property
    def labels_per_page(self) -> int:
        return self.columns * self.rows

    def origins(self) -> Iterator[tuple[float, float]]:
        """Yields the upper left corners of a page's labels, row by row."""
        for row in range(self.rows):
            for column in range(self.columns):
                yield self.left + column * self.pitch_x, self.top + row * self.pitch_y

    def check(self) -> None:
        """Raises InvalidInput if labels overlap or lie partly outside of the page."""
        if (self.columns > 1 and self.pitch_x < self.width) or (self.rows > 1 and self.pitch_y < self.height):
            detail = "The labels overlap: a pitch must be at least the width or height of a label. Measure it again."
            raise invalid_field("/pitch", detail, FieldCode.LABELS_OVERLAP)
        right = self.left + (self.columns - 1) * self.pitch_x + self.width
        bottom = self.top + (self.rows - 1) * self.pitch_y + self.height
        if right > self.page[0] + TOLERANCE or bottom > self.page[1] + TOLERANCE:
            detail = (
                f"The last label ends at {right:.2f} x {bottom:.2f} mm, outside of the page of {self.page[0]:g} x "
                f"{self.page[1]:g} mm. Correct the margins, the pitch or the grid."
            )
            ends = {"right": f"{right:.2f}", "bottom": f"{bottom:.2f}"}
            raise invalid_field("/page", detail, FieldCode.OUTSIDE_PAGE, **ends)


@dataclass(frozen=True, slots=True)
class Roll:
    """Labels of one size, one behind the other, `across` of them side by side with `gap` between them."""

    width: float
    height: float
    across: int = 1
    gap: float = 0.0

    @property
    def page(self) -> tuple[float, float]:
        return self.across * self.width + (self.across - 1) * self.gap, self.height

    @property
    def labels_per_page(self) -> int:
        return self.across

    def origins(self) -> Iterator[tuple[float, float]]:
        for column in range(self.across):
            yield column * (self.width + self.gap), 0.0


LabelFormat: TypeAlias = Sheet | Roll


def definition_of(label_format: LabelFormat) -> dict[str, Any]:
    """Returns the format in the form of the API and the database."""
    size = {"width": label_format.width, "height": label_format.height}
    if isinstance(label_format, Roll):
        return {"kind": "roll", **size, "across": label_format.across, "gap": label_format.gap}
    return {
        "kind": "sheet",
        **size,
        "page": {"width": label_format.page[0], "height": label_format.page[1]},
        "margins": {"left": label_format.left, "top": label_format.top},
        "pitch": {"x": label_format.pitch_x, "y": label_format.pitch_y},
        "grid": {"columns": label_format.columns, "rows": label_format.rows},
    }


def format_of(definition: Mapping[str, Any]) -> LabelFormat:
    """Returns the format of a definition: the inverse of `definition_of`."""
    width, height = definition["width"], definition["height"]
    if definition["kind"] == "roll":
        return Roll(width, height, definition["across"], definition["gap"])
    page, margins, pitch, grid = (definition[part] for part in ("page", "margins", "pitch", "grid"))
    return Sheet(
        width, height, grid["columns"], grid["rows"], margins["left"], margins["top"], pitch["x"], pitch["y"],
        (page["width"], page["height"]),
    )  # fmt: skip


PRESETS: Final[Mapping[str, LabelFormat]] = MappingProxyType(
    {
        "a4-65": Sheet(38.1, 21.2, 5, 13, 4.75, 10.70, 40.6, 21.2),
        "a4-40": Sheet(45.7, 25.4, 4, 10, 9.75, 21.5, 48.25, 25.4),
        "a4-24": Sheet(63.5, 33.9, 3, 8, 7.25, 12.9, 66.0, 33.9),
        "a4-21": Sheet(63.5, 38.1, 3, 7, 7.25, 15.15, 66.0, 38.1),
        "a4-8": Sheet(99.1, 67.7, 2, 4, 4.67, 13.04, 101.64, 67.73),
        "roll-50x30": Roll(50.0, 30.0),
        "roll-30x20": Roll(30.0, 20.0),
        "roll-100x150": Roll(100.0, 150.0),
    }
)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Corrects a printer: a point at `x` is drawn at `x * scale_x + dx` (millimetres from the upper left corner)."""

    dx: float = 0.0
    dy: float = 0.0
    scale_x: float = 1.0
    scale_y: float = 1.0


UNCALIBRATED: Final = Calibration()
