"""Counts what each share holds at a time: an organisation, a caller, or all webhooks of Accurate together."""

from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager


@contextmanager
def counted(held: Counter[Hashable], share: Hashable, amount: int = 1) -> Iterator[None]:
    """Counts the amount while the block runs. A share that holds nothing is forgotten: there may be any number."""
    held[share] += amount
    try:
        yield
    finally:
        held[share] -= amount
        if not held[share]:
            del held[share]
