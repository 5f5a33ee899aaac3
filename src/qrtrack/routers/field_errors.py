"""Translates the framework's findings about a request into field errors with our own codes, since pydantic's names may
change.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from qrtrack.domain.errors import FieldError
from qrtrack.domain.field_codes import FieldCode
from qrtrack.schemas.base import PATTERNS

POINTER_LENGTH: Final = 300
# Pydantic writes texts as `'a', 'b' or 'c'`, and numbers as `203, 300 or 600`.
QUOTED: Final = re.compile(r"'([^']*)'")
NUMBER: Final = re.compile(r"-?[0-9]+")

# Keys are pydantic's error types. Values are our code, our param, and pydantic's name for that param.
LIMITS: Final[Mapping[str, tuple[FieldCode, str, str]]] = MappingProxyType(
    {
        "string_too_short": (FieldCode.TOO_SHORT, "min", "min_length"),
        "string_too_long": (FieldCode.TOO_LONG, "max", "max_length"),
        "too_short": (FieldCode.TOO_FEW, "min", "min_length"),
        "too_long": (FieldCode.TOO_MANY, "max", "max_length"),
        "greater_than_equal": (FieldCode.TOO_SMALL, "min", "ge"),
        "less_than_equal": (FieldCode.TOO_LARGE, "max", "le"),
    }
)
PLAIN: Final[Mapping[str, FieldCode]] = MappingProxyType(
    {
        "missing": FieldCode.REQUIRED,
        "extra_forbidden": FieldCode.UNKNOWN_FIELD,
        "string_unicode": FieldCode.NOT_UNICODE,
        "date_type": FieldCode.BAD_DATE,
        "date_parsing": FieldCode.BAD_DATE,
        "date_from_datetime_parsing": FieldCode.BAD_DATE,
        "date_from_datetime_inexact": FieldCode.BAD_DATE,
        "datetime_parsing": FieldCode.BAD_INSTANT,
        "datetime_from_date_parsing": FieldCode.BAD_INSTANT,
    }
)
EXPECTED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "int_type": "integer",
        "int_parsing": "integer",
        "int_parsing_size": "integer",
        "int_from_float": "integer",
        "float_type": "number",
        "float_parsing": "number",
        "finite_number": "number",
        "bool_type": "boolean",
        "bool_parsing": "boolean",
        "string_type": "string",
        "list_type": "list",
        "dict_type": "object",
        "model_type": "object",
        "model_attributes_type": "object",
        "uuid_type": "uuid",
        "uuid_parsing": "uuid",
    }
)


def field_error(entry: Mapping[str, Any], body: Any) -> FieldError:
    """Builds the field error from pydantic's message. Leaves out the input, which may be a secret."""
    place, *path = entry["loc"]
    steps = _inside(body, path, is_missing=entry["type"] == "missing") if place == "body" else [place, *path]
    kind, context = entry["type"], entry.get("ctx", {})
    if kind == "string_pattern_mismatch" and context["pattern"] in PATTERNS:
        code, sentence = PATTERNS[context["pattern"]]
        return FieldError(pointer_to(steps), sentence, code)
    code, params = _code_of(kind, context)
    return FieldError(pointer_to(steps), entry["msg"].removeprefix("Value error, "), code, params)


def _code_of(kind: str, context: Mapping[str, Any]) -> tuple[FieldCode, Mapping[str, Any]]:
    """Returns INVALID for errors that none of our schemas can cause today."""
    if kind in LIMITS:
        code, ours, theirs = LIMITS[kind]
        return code, {ours: context[theirs]}
    if kind in EXPECTED:
        return FieldCode.WRONG_TYPE, {"expected": EXPECTED[kind]}
    if kind in ("enum", "literal_error"):
        expected = context["expected"]
        return FieldCode.NOT_ALLOWED_VALUE, {
            "allowed": QUOTED.findall(expected) or NUMBER.findall(expected) or [expected]
        }
    if kind in PLAIN:
        return PLAIN[kind], {}
    # Our own validators raise with a code of the catalogue.
    return (FieldCode(kind), context) if kind in frozenset(FieldCode) else (FieldCode.INVALID, {})


def pointer_to(steps: Iterable[str | int]) -> str:
    pointer = "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)
    return pointer[:POINTER_LENGTH]


def _inside(body: Any, path: Sequence[str | int], *, is_missing: bool) -> list[str | int]:
    """Returns the steps that exist in the body. Pydantic also inserts names of union members, which do not exist
    there.
    """
    steps: list[str | int] = []
    here = body
    for index, part in enumerate(path):
        if _leads_on(here, part):
            here = here[part]
        elif not (is_missing and index == len(path) - 1):
            continue
        steps.append(part)
    return steps


def _leads_on(here: Any, part: str | int) -> bool:
    if isinstance(here, list):
        return isinstance(part, int) and part < len(here)
    return isinstance(here, Mapping) and part in here
