"""Root keys as people type them."""

import re
from itertools import product
from typing import Final

_IGNORED: Final = re.compile(r"[\s\-‐-―_.]+")
# Keys that the service generates contain none of these characters. Imported keys may contain them.
_CONFUSED: Final = (("0", "O"), ("1", "I"))
_UNCHANGED: Final[dict[int, str]] = {}


def readings(typed: str) -> list[str]:
    """Returns at most nine keys that the person may have meant, the likeliest first: without blanks, hyphens, dots and
    underscores, in upper case, then also with 0 and O, and 1 and I, exchanged. Text that is not ASCII keeps its case:
    upper-casing could turn it into the key of a unit.
    """
    plain = _IGNORED.sub("", typed)
    plain = plain.upper() if plain.isascii() else plain
    swaps = [(_UNCHANGED, {ord(one): other}, {ord(other): one}) for one, other in _CONFUSED]
    return list(dict.fromkeys(plain.translate(first | second) for first, second in product(*swaps)))
