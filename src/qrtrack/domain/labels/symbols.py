"""QR symbols as rectangles of dark modules, merged so that no white hairline appears between neighbours."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import segno

from qrtrack.domain.qr import ErrorLevel

Rectangle: TypeAlias = tuple[int, int, int, int]
"""Left, top, width and height in modules."""


@dataclass(frozen=True, slots=True)
class Symbol:
    """A full QR code, never a Micro QR code. `modules` is the side of the symbol without its quiet zone."""

    payload: str
    error: ErrorLevel
    modules: int
    matrix: Sequence[Sequence[int]]

    def rectangles(self) -> Iterator[Rectangle]:
        """Yields rectangles that cover every dark module exactly once: a run in a row, extended downwards while the
        rows below contain the same run.
        """
        open_runs: dict[tuple[int, int], int] = {}
        for y in range(self.modules + 1):
            runs = set(_runs(self.matrix[y])) if y < self.modules else set()
            for run in [run for run in open_runs if run not in runs]:
                top = open_runs.pop(run)
                yield run[0], top, run[1], y - top
            for run in runs:
                open_runs.setdefault(run, y)


def encode(payload: str, error: ErrorLevel = "M") -> Symbol:
    matrix = segno.make_qr(payload, error=error).matrix
    return Symbol(payload, error, len(matrix), matrix)


def _runs(row: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yields the start and the length of each run of dark modules."""
    start: int | None = None
    for x, dark in enumerate([*row, 0]):
        if dark and start is None:
            start = x
        elif not dark and start is not None:
            yield start, x - start
            start = None
