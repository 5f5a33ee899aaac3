"""How many things match a filter, as the dry run of an action on all of them counts them."""

from dataclasses import dataclass
from typing import Final, Self

# Counting further would read millions of rows to show a number that nobody compares.
MOST_COUNTED: Final = 10_000


@dataclass(frozen=True, slots=True)
class Matching:
    """`matching`: at most MOST_COUNTED. `more`: there are more than that."""

    matching: int
    more: bool

    @classmethod
    def of(cls, counted: int) -> Self:
        """`counted`: the result of a count that stops behind MOST_COUNTED."""
        return cls(min(counted, MOST_COUNTED), counted > MOST_COUNTED)
