"""The content of a label: its symbol and its lines of text."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from qrtrack.domain.labels.formats import LabelFormat
from qrtrack.domain.labels.layouts import Layout, Resolution, lay_out, size_of
from qrtrack.domain.labels.symbols import Symbol, encode

LONGEST_LINE: Final = 40


@dataclass(frozen=True, slots=True)
class Label:
    payload: str
    lines: Sequence[str]


@dataclass(frozen=True, slots=True)
class PlacedLabel:
    symbol: Symbol
    layout: Layout
    lines: Sequence[str]


@dataclass(frozen=True, slots=True)
class CaseLabel:
    """The data of a case's label. `first_code`, `last_code` and `completeness` are None for an empty case."""

    master_code: str
    case_number: int
    product_name: str
    variant: str | None
    first_code: str | None
    last_code: str | None
    units: int
    completeness: str | None


def unit_lines(
    code: str, *, variant: str | None, lot: str | None, expires_on: date | None, root_key: str | None
) -> Sequence[str]:
    """Returns the lines of text of a unit's label. The code has the first line for itself, because people type it."""
    lines = [code]
    if root_key is not None:
        lines.append(root_key)
    if variant is not None:
        lines.append(variant)
    if lot is not None:
        lines.append(f"L {lot}")
    if expires_on is not None:
        lines.append(f"EXP {expires_on.isoformat()}")
    return [line[:LONGEST_LINE] for line in lines]


def case_lines(case: CaseLabel) -> Sequence[str]:
    lines = [case.master_code, f"CASE {case.case_number}", case.product_name]
    if case.variant is not None:
        lines.append(case.variant)
    if case.first_code is not None and case.last_code is not None:
        lines += [case.first_code, case.last_code]
    # Labels of cases are often printed before the cases are packed: a count of 0 would be wrong from then on.
    if case.units:
        lines.append(f"{case.units} PCS" + (f" {case.completeness.upper()}" if case.completeness else ""))
    return [line[:LONGEST_LINE] for line in lines]


def place_label(label: Label, label_format: LabelFormat, *, at_tills: bool, resolution: Resolution) -> PlacedLabel:
    """Raises LabelTooSmall."""
    symbol = encode(label.payload)
    layout = lay_out(size_of(label_format), symbol.modules, label.lines, at_tills=at_tills, resolution=resolution)
    return PlacedLabel(symbol, layout, label.lines)
