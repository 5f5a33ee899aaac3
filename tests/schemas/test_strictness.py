"""No field of a request takes another type, or a number or date in another spelling: all models are tried."""

from collections.abc import Iterator
from datetime import date
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import pytest
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, ValidationError

from qrtrack.main import ROUTERS
from qrtrack.schemas.accurate.replays import EventQuery, ReplayMany
from qrtrack.schemas.akselgate.reports import ReportQuery
from qrtrack.schemas.base import Part, Query
from qrtrack.schemas.packing.batches import BatchRequest, ImportFields
from qrtrack.schemas.recalculation import RecountQuery
from qrtrack.schemas.worker import Budget

NOT_OF_JSON: dict[type, list[Any]] = {
    int: [True, False, "1", "7", 1.0, "", [1]],
    bool: [1, 0, 1.0, "true", "on", ""],
    float: [True, "1", "1.5"],
    date: [0, 86400, 1.5, True, "0", "1798675200", "2026-1-2", "2026-01-02T00:00:00", "2026-01-02 ", "٢٠٢٦-01-02"],
    str: [1, 1.5, True],
}
NOT_CANONICAL: dict[type, list[Any]] = {
    int: ["1_0", "+5", " 5", "5 ", "05", "5.0", "1e2", "٣", "0x10", "", "--5", "5\n"],
    bool: ["1", "0", "on", "yes", "t", "TRUE", "True", " true", ""],
    float: ["1e1", "inf", "nan", "+1", " 1", "1_0", "1.", ".5", "٣", "", "Infinity"],
    date: ["0", "86400", "1798675200", "20260102", "2026-1-2", "2026-01-02T00:00:00", " 2026-01-02", "٢٠٢٦-01-02"],
}


def descendants(base: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for model in base.__subclasses__():
        yield model
        yield from descendants(model)


def types_in(annotation: Any) -> Iterator[type]:
    """The types that a value of it may have; those inside a list are not its own."""
    if get_origin(annotation) in (Union, UnionType):
        for option in get_args(annotation):
            yield from types_in(option)
    elif get_origin(annotation) is Literal:
        yield from {type(word) for word in get_args(annotation)}
    elif get_args(annotation) and hasattr(annotation, "__metadata__"):
        yield from types_in(get_args(annotation)[0])
    elif isinstance(annotation, type):
        yield annotation


def loose_values(models: set[type[BaseModel]], loose: dict[type, list[Any]]) -> list[Any]:
    return [
        pytest.param(model, name, value, id=f"{model.__name__}.{name}={value!r}")
        for model in sorted(models, key=lambda model: model.__name__)
        if not model.__module__.startswith("test_")
        for name, field in model.model_fields.items()
        for kind, values in loose.items()
        if kind in set(types_in(field.annotation))
        for value in values
        # `amount` may be text or a whole number; its text is checked row by row.
        if type(value) not in set(types_in(field.annotation))
    ]


def bad_fields(model: type[BaseModel], values: dict[str, Any]) -> set[Any]:
    try:
        model.model_validate(values)
    except ValidationError as error:
        return {entry["loc"][0] for entry in error.errors()}
    return set()


FORMS = {model for model in descendants(Part) if issubclass(model, ImportFields)}
OF_JSON = set(descendants(Part)) - FORMS
OF_TEXT = set(descendants(Query)) | FORMS


@pytest.mark.parametrize(("model", "name", "value"), loose_values(OF_JSON, NOT_OF_JSON))
def test_a_field_of_a_body_takes_its_own_type_of_json_only(model: type[BaseModel], name: str, value: Any) -> None:
    assert name in bad_fields(model, {name: value})


@pytest.mark.parametrize(("model", "name", "value"), loose_values(OF_TEXT, NOT_CANONICAL))
def test_text_is_read_as_a_value_in_one_spelling_only(model: type[BaseModel], name: str, value: Any) -> None:
    assert name in bad_fields(model, {name: value})


def test_the_values_meant_are_taken() -> None:
    assert bad_fields(ReplayMany, {"status": "dead", "database_id": 1, "forward_status": "dead"}) == set()
    assert bad_fields(BatchRequest, {"expires_on": "2026-12-31", "quantity": 5}).isdisjoint({"expires_on", "quantity"})
    assert ReportQuery.model_validate({"date": "2026-11-22"}).date == date(2026, 11, 22)
    assert EventQuery.model_validate({"limit": "20", "database": "0"}).limit == 20
    assert RecountQuery.model_validate({"all": "true"}).all
    assert Budget.model_validate({"max_seconds": "2.5"}).max_seconds == 2.5


def path_parameters() -> list[Any]:
    contexts = list(iter_route_contexts([route for router in ROUTERS for route in router.routes]))
    fields = [(c.path, field) for c in contexts for field in c.dependant.path_params]
    return [
        pytest.param(field, id=f"{path}:{field.name}")
        for path, field in fields
        if int in set(types_in(field.field_info.annotation))
    ]


@pytest.mark.parametrize("field", path_parameters())
def test_a_number_in_an_address_has_one_spelling(field: Any) -> None:
    for text in NOT_CANONICAL[int]:
        _, errors = field.validate(text, {}, loc=("path", field.name))
        assert errors, text
    assert field.validate("7", {}, loc=("path", field.name)) == (7, [])
