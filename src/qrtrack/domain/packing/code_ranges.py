"""Writes codes and sequence numbers in short form: consecutive ones as one range."""

from collections.abc import Iterable, Sequence
from typing import Any

from qrtrack.domain.errors import NAMED_ERRORS, NAMED_THINGS, FieldError
from qrtrack.domain.field_codes import FieldCode
from qrtrack.domain.packing.numbering import LAST_NUMBER, parse_serial, serial


def not_in_batch(codes: Sequence[str], *, field: str, place: str = "in this batch") -> dict[str, Any]:
    """Builds the members of a refusal of codes that are not in the batch, or not in another `place`."""
    shown = code_ranges(codes)
    return {
        "errors": [not_in_batch_error(f"/{field}", code, place) for code in shown[:NAMED_ERRORS]],
        "error_count": len(codes),
        "codes": shown,
        "unknown_count": len(codes),
    }


def not_in_batch_error(pointer: str, code: str, place: str = "in this batch") -> FieldError:
    return FieldError(pointer, f"{code} is not {place}.", FieldCode.NOT_IN_BATCH, {"value": code})


def as_ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Returns closed ranges of sequence numbers in rising order, as trace events store them."""
    runs: list[tuple[int, int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1] = runs[-1][0], number
        else:
            runs.append((number, number))
    return runs


def code_ranges(codes: Iterable[str]) -> list[str]:
    """Returns consecutive serials as `SKA000010-SKA000020`, the form that lists of codes accept. Returns the first
    NAMED_THINGS entries, and stops reading when they are complete.
    """
    starts: list[tuple[str, int]] = []
    lasts: list[int] = []
    others: list[str] = []
    prefix, following = "", None
    for code in codes:
        if code == following:
            lasts[-1] += 1
        elif len(starts) + len(others) == NAMED_THINGS:
            break
        elif (parsed := parse_serial(code)) is None:
            others.append(code)
            continue
        else:
            starts.append(parsed)
            prefix, number = parsed
            lasts.append(number)
        # Formatted here: calling `serial` for each of 100,000 codes doubles the time, and blocks the event loop
        # meanwhile.
        following = f"{prefix}{lasts[-1] + 1:06d}" if lasts[-1] < LAST_NUMBER else None
    spans = zip(starts, lasts, strict=True)
    return [*(name for start, last in spans for name in _named(*start, last)), *others][:NAMED_THINGS]


def _named(prefix: str, first: int, last: int) -> list[str]:
    """Names a range by its ends. A range of two codes is written as two codes: this is as short, and easier to find on
    the units.
    """
    if last - first < 2:
        return [serial(prefix, number) for number in range(first, last + 1)]
    return [f"{serial(prefix, first)}-{serial(prefix, last)}"]
