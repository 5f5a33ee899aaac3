"""Reading pasted lists of codes without holding up other requests."""

import asyncio
from collections.abc import Sequence
from typing import Final

from qrtrack.domain.code_lists import PastedCodes, parse_codes
from qrtrack.domain.errors import FieldError, InvalidInput
from qrtrack.domain.field_codes import FieldCode

ELEMENTS_AT_ONCE: Final = 1_000
CHARACTERS_AT_ONCE: Final = 16_384


async def read_codes(elements: Sequence[str], *, field: str = "codes", may_be_empty: bool = False) -> PastedCodes:
    """As parse_codes. Long lists, and ranges, which are short but may name 100,000 codes, are read in a thread."""
    is_short = len(elements) <= ELEMENTS_AT_ONCE and sum(map(len, elements)) <= CHARACTERS_AT_ONCE
    if is_short and not any("-" in element for element in elements):
        pasted = parse_codes(elements, field=field)
    else:
        pasted = await asyncio.to_thread(parse_codes, elements, field=field)
    if not pasted.codes and not may_be_empty:
        error = FieldError(f"/{field}", "There is no code.", FieldCode.TOO_FEW, {"min": 1})
        raise InvalidInput("Name at least one code.", errors=[error])
    return pasted
