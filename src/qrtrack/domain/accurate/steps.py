"""Reads payloads in short steps, so that other requests run in between."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar

# Reading this many characters blocks the event loop for 1 to 2 ms.
STEP_CHARACTERS: Final = 16 * 1024

ItemT = TypeVar("ItemT")


def in_steps(items: Iterable[ItemT], characters: Callable[[ItemT], int]) -> Iterator[Sequence[ItemT]]:
    """Yields the items in order, in groups. A group ends with the item that brings it above STEP_CHARACTERS, however
    long that item is. The items of a group are taken only when the caller asks for the group.
    """
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
