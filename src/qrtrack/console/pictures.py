"""Small drawings of what is measured in millimetres. Their colours come from the style sheet."""

from typing import Final

from markupsafe import Markup

from qrtrack.domain.labels.formats import LabelFormat

WIDTH, HEIGHT = 120, 160
PICTURE: Final = Markup(
    '<svg class="picture" width="{shown_width:.0f}" height="{shown_height:.0f}" viewBox="0 0 {width:.2f} {height:.2f}" '
    'aria-hidden="true"><rect class="paper" width="{width:.2f}" height="{height:.2f}"/>{labels}</svg>'
)
LABEL: Final = Markup(
    '<rect class="label" x="{:.2f}" y="{:.2f}" width="{width:.2f}" height="{height:.2f}" rx="{corner:.2f}"/>'
)


def label_picture(label_format: LabelFormat) -> Markup:
    """The sheet, or a piece of the roll, with the outlines of its labels. The text beside it says the same."""
    page_width, page_height = label_format.page
    width, height = label_format.width, label_format.height
    scale = min(WIDTH / page_width, HEIGHT / page_height)
    corner = min(width, height) / 10
    labels = [LABEL.format(x, y, width=width, height=height, corner=corner) for x, y in label_format.origins()]
    return PICTURE.format(
        width=page_width, height=page_height, shown_width=page_width * scale, shown_height=page_height * scale,
        labels=Markup("").join(labels),
    )  # fmt: skip
