"""The forms of serials, random codes and uniq codes. The database holds the counters."""

import re
import secrets

from qrtrack.domain.root_keys import ALPHABET, GUESSES_PER_HIT, random_text, sample_keys

PREFIX_PATTERN = r"^[A-Z0-9]{0,7}[A-Z]$"
"""A prefix ends in a letter. Otherwise `SKA1` + 000001 and `SKA` + 1000001 would be the same code."""

CODE_PATTERN = r"^[A-Z0-9][A-Z0-9._-]{0,19}$"
"""The longest code, also of imported ones: GS1 allows 20 characters for a serial (AI 21)."""

UNIQ_CODE_LENGTH = 12
SHORTEST_TAIL = 6
FIRST_NUMBER = 1
LAST_NUMBER = 10**12 - 1

_SERIAL = re.compile(r"([A-Z0-9]{0,7}[A-Z])([0-9]{6}|[1-9][0-9]{6,11})")
_LETTERS = "".join(character for character in ALPHABET if character.isalpha())

# 24 does not divide 256: the 16 byte values that would favour some letters are dropped.
_LETTER_OF_BYTE = (_LETTERS * 11).encode()[:256]
_BIASED_BYTES = bytes(range(240, 256))


def serial(prefix: str, number: int) -> str:
    """Writes a number with at least six digits. Sort serials by number, never as text."""
    if not FIRST_NUMBER <= number <= LAST_NUMBER:
        raise ValueError(f"serial numbers run from {FIRST_NUMBER} to {LAST_NUMBER}, not {number}")
    return f"{prefix}{number:06d}"


def parse_serial(code: str) -> tuple[str, int] | None:
    """Splits a serial into prefix and number: the exact inverse of `serial`. Returns None if the number is written in
    another way.
    """
    match = _SERIAL.fullmatch(code)
    if match is None or int(match[2]) < FIRST_NUMBER:
        return None
    return match[1], int(match[2])


def random_tail_length(live_codes: int) -> int:
    """Returns the shortest length, but at least SHORTEST_TAIL, at which a guess hits one of `live_codes` with a
    probability below 1/10,000 (EU 2016/161, art. 4).
    """
    length = SHORTEST_TAIL
    while live_codes * GUESSES_PER_HIT >= len(_LETTERS) * len(ALPHABET) ** (length - 1):
        length += 1
    return length


def random_tails(count: int, length: int) -> list[str]:
    """Returns distinct tails that end in a letter. Serials end in a digit, so a random code is never equal to a
    serial.
    """
    if length < 1 or count > len(_LETTERS) * len(ALPHABET) ** (length - 1):
        raise ValueError(f"there are fewer than {count} tails of length {length}")
    body = length - 1
    tails: dict[str, None] = {}
    while (lacking := count - len(tails)) > 0:
        text = random_text(lacking * body)
        endings = secrets.token_bytes(lacking).translate(_LETTER_OF_BYTE, delete=_BIASED_BYTES).decode()
        tails.update(dict.fromkeys(text[at * body : (at + 1) * body] + last for at, last in enumerate(endings)))
    return list(tails)


def uniq_code() -> str:
    """Returns 60 random bits as text. A database constraint keeps it unique in the whole service."""
    return sample_keys(1, UNIQ_CODE_LENGTH)[0]
