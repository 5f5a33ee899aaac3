"""The count of a dry run: how many things the action would change."""

from dataclasses import dataclass
from typing import Final, Self

# Counting further would read millions of rows to show a number that nobody compares.
MOST_COUNTED: Final = 10_000


@dataclass(frozen=True, slots=True)
class Matching:
    """`matching` is at most MOST_COUNTED. `more` says whether there are more."""

    matching: int
    more: bool

    @classmethod
    def of(cls, counted: int) -> Self:
        """Builds the answer from the result of a count that stops at one more than MOST_COUNTED."""
        return cls(min(counted, MOST_COUNTED), counted > MOST_COUNTED)
