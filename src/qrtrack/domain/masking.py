"""What people and logs are shown of text that holds account numbers, or the token of a callback address."""

import re
from typing import Final

LONG_NUMBER: Final = re.compile(r"[0-9]{5,}")
SHOWN_DIGITS: Final = 4
CALLBACK_TOKEN: Final = re.compile(r"\b([0-9]{1,18})-[0-9a-f]{64}\b", re.ASCII)


def masked(text: str) -> str:
    """Of every long number only the last four digits, and no token."""
    return LONG_NUMBER.sub(
        lambda found: "*" * (len(found[0]) - SHOWN_DIGITS) + found[0][-SHOWN_DIGITS:], without_tokens(text)
    )


def without_tokens(text: str) -> str:
    """Who holds an attempt's token can report its payments as failed, and so have them sent again."""
    return CALLBACK_TOKEN.sub(r"\1-***", text)
