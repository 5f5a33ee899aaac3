"""Reads payloads in short steps, so that other requests run in between."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar

# Reading this many characters blocks the event loop for 1 to 2 ms.
STEP_CHARACTERS: Final = 16 * 1024

ItemT = TypeVar("ItemT")


def in_steps(items: Iterable[ItemT], characters: Callable[[ItemT], int]) -> Iterator[Sequence[ItemT]]:
    """Yields the items in order, in groups of about STEP_CHARACTERS. Takes the items of a group only when it is due."""
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
