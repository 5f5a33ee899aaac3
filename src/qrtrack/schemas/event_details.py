"""Kinds of events, each with the schema of its `details`, for the OpenAPI document.

Answers are not validated against these schemas: the details of an old event may lack fields that today's events have.
"""

from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, TypeAdapter, create_model
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema


class Details(BaseModel):
    """Details of one kind of event."""

    model_config = ConfigDict(extra="forbid")


class NoDetails(Details):
    """This kind of event has no details."""


def event_kinds(base: type[BaseModel], tag: str, details: Mapping[Any, type[Details]], prefix: str = "") -> Any:
    """Returns a union with one model for each kind: the base, the kind as a constant in the field `tag`, and its
    details.
    """
    models: list[Any] = []
    for kind, of_kind in details.items():
        name = "".join(word.capitalize() for word in str(kind).replace(".", "_").split("_"))
        fields: dict[str, Any] = {tag: (Literal[str(kind)], ...), "details": (of_kind, ...)}
        models.append(create_model(f"{prefix}{name}Event", __base__=base, __doc__=of_kind.__doc__, **fields))
    return Annotated[reduce(or_, models), Field(discriminator=tag)]


class ShownAs:
    """An annotation: the OpenAPI document shows another type for the field than the one that validates it."""

    def __init__(self, shown: Any) -> None:
        self.shown = shown

    def __get_pydantic_json_schema__(self, _core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(TypeAdapter(self.shown).core_schema)
