"""JSON as people read it: indented, with every value as it arrived."""

import re
from collections.abc import Iterator
from typing import Final

PIECE: Final = re.compile(r'"(?:[^"\\]|\\.)*"?|[{}\[\]:,]|[^\s"{}\[\]:,]+', re.DOTALL)
# The page shows only this many characters. The API has the whole text.
MOST_CHARACTERS: Final = 60_000
# Deeper levels are indented no further: the indentation of 60,000 open brackets would fill the memory.
DEEPEST: Final = 20
STEP: Final = "  "


def indented(text: str) -> str:
    """Puts each member and element on its own line. Numbers and escapes stay as they are: to parse and write them again
    would change `1.10` and `1e400`. Text that is not JSON keeps all characters except white space.
    """
    return "".join(_pieces(text[:MOST_CHARACTERS]))


def _pieces(text: str) -> Iterator[str]:
    depth, opened = 0, False
    for piece in PIECE.findall(text):
        if piece in "}]":
            depth = max(depth - 1, 0)
            yield piece if opened else _line(depth) + piece
        else:
            yield (_line(depth) if opened else "") + piece
        opened = piece in "{["
        if opened:
            depth += 1
        elif piece == ",":
            yield _line(depth)
        elif piece == ":":
            yield " "


def _line(depth: int) -> str:
    return "\n" + STEP * min(depth, DEEPEST)
