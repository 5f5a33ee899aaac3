"""Reading payloads in short steps, between which other requests run."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar

# Reading this much takes 1 to 2 ms, in which the interpreter does nothing else.
STEP_CHARACTERS: Final = 16 * 1024

ItemT = TypeVar("ItemT")


def in_steps(items: Iterable[ItemT], characters: Callable[[ItemT], int]) -> Iterator[Sequence[ItemT]]:
    """The items in their order, taken from `items` step by step."""
    step: list[ItemT] = []
    length = 0
    for item in items:
        step.append(item)
        length += characters(item)
        if length > STEP_CHARACTERS:
            yield step
            step, length = [], 0
    if step:
        yield step
