"""Parsing pasted lists of codes without blocking the event loop."""

from collections.abc import Sequence
from typing import Any, Final

from qrtrack.domain.errors import invalid_field
from qrtrack.domain.field_codes import FieldCode
from qrtrack.domain.identity import Caller
from qrtrack.domain.packing.code_lists import PastedCodes, parse_codes
from qrtrack.runtime import Runtime

ELEMENTS_AT_ONCE: Final = 1_000
CHARACTERS_AT_ONCE: Final = 16_384


async def read_codes(
    runtime: Runtime, caller: Caller, elements: Sequence[Any], *, field: str = "codes", may_be_empty: bool = False
) -> PastedCodes:
    """Parses like `parse_codes`, but parses long lists and ranges in a thread: one range may name 100,000 codes."""
    if _are_short(elements):
        pasted = parse_codes(elements, field=field)
    else:
        pasted = await runtime.heavy_work.run(caller.organisation_id, parse_codes, elements, field=field)
    if not pasted.codes and not may_be_empty:
        raise invalid_field(f"/{field}", "The list names no code. Name at least one.", FieldCode.TOO_FEW, min=1)
    return pasted


def _are_short(elements: Sequence[Any]) -> bool:
    if len(elements) > ELEMENTS_AT_ONCE:
        return False
    texts = [element for element in elements if isinstance(element, str)]
    return sum(map(len, texts)) <= CHARACTERS_AT_ONCE and not any("-" in text for text in texts)
