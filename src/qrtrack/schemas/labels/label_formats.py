"""Label formats: sheets and rolls, in millimetres."""

from collections.abc import Sequence
from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field, StringConstraints

from qrtrack.domain.errors import FieldError, InvalidInput
from qrtrack.domain.field_codes import FieldCode
from qrtrack.domain.labels.formats import MOST_LABELS_ON_PAGE, NAME_PATTERN, LabelFormat, format_of
from qrtrack.schemas.base import Answer, Body, Part, View
from qrtrack.services.labels.label_formats import ListedFormat

LARGEST: Final = 1200
FormatName = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Side = Annotated[float, Field(ge=5, le=LARGEST, description="Millimetres.")]
Distance = Annotated[float, Field(ge=0, le=LARGEST, description="Millimetres.")]


class PageSize(Part):
    """A sheet of paper."""

    width: Side
    height: Side


class Margins(Part):
    """From the edge of the page to the first label."""

    left: Distance
    top: Distance


class Pitch(Part):
    """From the edge of a label to the same edge of its neighbour. It is not the gap between them."""

    x: Distance
    y: Distance


class Grid(Part):
    """How many labels lie side by side, and how many one below the other."""

    columns: Annotated[int, Field(ge=1, le=50)]
    rows: Annotated[int, Field(ge=1, le=100)]


A4: Final = PageSize(width=210.0, height=297.0)
OF_SHEETS: Final = ("margins", "pitch", "grid")
OF_ROLLS: Final = ("across", "gap")


class LabelFormatRequest(Body):
    """A sheet has `margins`, `pitch` and `grid`, and also `page` if it is not A4. A roll may have `across` and
    `gap`.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "kind": "sheet", "width": 63.5, "height": 29.6, "margins": {"left": 7.2, "top": 15.4},
                "pitch": {"x": 66.0, "y": 29.6}, "grid": {"columns": 3, "rows": 9},
            }
        }
    )  # fmt: skip

    kind: Literal["sheet", "roll"]
    width: Side
    height: Side
    page: PageSize | None = None
    margins: Margins | None = None
    pitch: Pitch | None = None
    grid: Grid | None = None
    across: Annotated[int, Field(ge=1, le=10)] | None = Field(None, description="Labels side by side on a roll.")
    gap: Distance | None = Field(None, description="Millimetres between two labels side by side on a roll.")

    def label_format(self) -> LabelFormat:
        """Raises InvalidInput."""
        if self.kind == "roll":
            self._refuse(("page", *OF_SHEETS), "roll")
            size = self.model_dump(include={"kind", "width", "height"})
            return format_of(size | {"across": self.across or 1, "gap": self.gap or 0.0})
        self._refuse(OF_ROLLS, "sheet")
        self._require(OF_SHEETS)
        if self.grid is not None and self.grid.columns * self.grid.rows > MOST_LABELS_ON_PAGE:
            detail = f"A page has at most {MOST_LABELS_ON_PAGE} labels."
            raise InvalidInput(
                detail, errors=[FieldError("/grid", detail, FieldCode.TOO_MANY, {"max": MOST_LABELS_ON_PAGE})]
            )
        page = (self.page or A4).model_dump()
        return format_of(self.model_dump() | {"page": page})

    def _refuse(self, fields: Sequence[str], kind: str) -> None:
        given = [name for name in fields if getattr(self, name) is not None]
        if given:
            details = {name: f"A {kind} has no {name}: leave it out." for name in given}
            raise InvalidInput(
                details[given[0]],
                errors=[FieldError(f"/{name}", detail, FieldCode.UNKNOWN_FIELD) for name, detail in details.items()],
            )

    def _require(self, fields: Sequence[str]) -> None:
        missing = [name for name in fields if getattr(self, name) is None]
        if missing:
            detail = f"A sheet needs {', '.join(missing)}."
            raise InvalidInput(detail, errors=[FieldError(f"/{name}", detail, FieldCode.REQUIRED) for name in missing])


class ShownSheet(View):
    """A sheet of labels, in millimetres."""

    kind: Literal["sheet"]
    width: float
    height: float
    page: PageSize
    margins: Margins
    pitch: Pitch
    grid: Grid


class ShownRoll(View):
    """A roll of labels, in millimetres."""

    kind: Literal["roll"]
    width: float
    height: float
    across: int
    gap: float


class ShownLabelFormat(View):
    """A preset of the program, or an organisation's own format."""

    name: str
    is_preset: bool
    label_format: Annotated[ShownSheet | ShownRoll, Field(discriminator="kind")]


class LabelFormatList(Answer):
    """All formats: presets first, then the organisation's own, by name."""

    label_formats: list[ShownLabelFormat]

    @classmethod
    def of(cls, formats: Sequence[ListedFormat]) -> "LabelFormatList":
        return cls(label_formats=[ShownLabelFormat.model_validate(listed) for listed in formats])


class LabelFormatAnswer(ShownLabelFormat, Answer):
    """The format as it is stored."""


class LabelFormatDeleted(Answer):
    """The format is deleted. Label jobs that were submitted with the format keep it."""

    name: str
