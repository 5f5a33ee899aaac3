"""A bad field in a refusal: where it is, what is wrong with it, and what a translation of its code needs."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from pydantic import BaseModel, Field, GetJsonSchemaHandler, TypeAdapter
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from qrtrack.domain.field_codes import FieldCode

ParamValue = str | int | float | list[str]
PARAM_TYPES: Final[Mapping[str, Any]] = MappingProxyType(
    dict.fromkeys(("count", "first_line", "left", "line", "log_id", "max_decimals", "width", "height"), int)
    | dict.fromkeys(("max", "min"), float)
    | dict.fromkeys(("allowed", "fields", "presets"), list[str])
)
"""The types of params that are not text."""


def left_out(description: str) -> Any:
    """Declares a member that only some occurrences have. An absent member is left out and never null, so the schema
    does not require it.
    """
    return Field(default_factory=lambda: None, description=description)


class ProblemField(BaseModel):
    """One bad field of the request."""

    pointer: str = Field(
        description="JSON pointer into the body (`/exclude_codes/3`); what is not in the body begins with "
        "`/query`, `/path`, `/header`, `/cookie` or `/file` (`/query/limit`)."
    )
    detail: str = Field(description="What is wrong with the field, in English.")
    code: FieldCode = Field(description="What is wrong with the field, for programs: see docs/problems.md.")
    # The OpenAPI document says which params belong to which code.
    params: dict[str, ParamValue] = Field(description="What a translation of `code` names, such as `min` and `max`.")
    row_number: int = left_out("For a transaction: its row, counted from 1.")
    reference: str | None = left_out("For a transaction: its referenceNumber as it was sent.")

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Adds which params each code has, so that a client's compiler can derive them from the code."""
        schema = handler.resolve_ref_schema(handler(core_schema))
        schema["oneOf"] = [
            {
                "type": "object",
                "properties": {"code": {"enum": codes}, "params": _params_schema(names)},
                "required": ["code", "params"],
            }
            for names, codes in _codes_by_params().items()
        ]
        return schema


def _codes_by_params() -> Mapping[tuple[str, ...], Sequence[str]]:
    found: dict[tuple[str, ...], list[str]] = {}
    for code in FieldCode:
        found.setdefault(code.params, []).append(code.value)
    return found


def _params_schema(names: Sequence[str]) -> JsonSchemaValue:
    """Allows further params, so that a client may look one up under a name that its schema does not contain."""
    return {
        "type": "object",
        "properties": {name: TypeAdapter(PARAM_TYPES.get(name, str)).json_schema() for name in names},
        "required": list(names),
        "additionalProperties": TypeAdapter(ParamValue).json_schema(),
    }
