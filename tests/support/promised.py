"""Compares every answer in the tests of routes with the OpenAPI document: no answer may differ from it."""

import copy
import re
from functools import cache
from typing import Any, Final
from urllib.parse import quote

import httpx2
from fastapi import FastAPI
from jsonschema_rs import Draft202012Validator, Registry

from qrtrack.domain.field_codes import FieldCode
from qrtrack.main import create_app
from qrtrack.routers.contract import HEADERS
from qrtrack.settings import Settings

ADDRESS: Final = "urn:qrtrack:openapi"


@cache
def application() -> FastAPI:
    """The application, one for all tests: the runtime, which differs between tests, comes with each request."""
    return create_app(Settings(_env_file=None))


@cache
def document() -> Any:
    """The OpenAPI document. It does not depend on settings."""
    return application().openapi()


@cache
def _operations(method: str, segments: int) -> list[tuple[str, re.Pattern[str], Any]]:
    """Returns template, pattern and operation (None if the method is wrong) of the paths with so many segments. Paths
    with the fewest parameters come first.
    """
    templates = sorted(document()["paths"], key=lambda template: template.count("{"))
    return [
        (template, re.compile(re.sub(r"\{\w+\}", "[^/]+", template)), document()["paths"][template].get(method))
        for template in templates
        if template.count("/") == segments
    ]


def _operation(request: httpx2.Request) -> tuple[str, Any]:
    path = request.url.path
    for template, pattern, operation in _operations(request.method.lower(), path.count("/")):
        if operation is not None and pattern.fullmatch(path):
            return template, operation
        if template == path:
            # The address of a word is no value of another one's parameter: this is a wrong method.
            break
    return "", None


@cache
def _strict_document() -> Registry:
    """The document for all validators, changed so that objects have no members that it does not name."""
    strict = copy.deepcopy(document())
    for schema in strict["components"]["schemas"].values():
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
    return Registry([(ADDRESS, strict)])


@cache
def _validator(*names: str) -> Draft202012Validator:
    """Returns the validator of the schema at this place of the document."""
    place = "".join("/" + name.replace("~", "~0").replace("/", "~1") for name in names)
    return Draft202012Validator(
        {"$ref": f"{ADDRESS}#{quote(place)}"}, registry=_strict_document(), validate_formats=True
    )


async def check(answer: httpx2.Response) -> None:
    template, operation = _operation(answer.request)
    if operation is None:
        return
    await answer.aread()
    told = f"{answer.request.method} {template} {answer.status_code} {answer.text[:2000]}"
    promised = operation["responses"].get(str(answer.status_code))
    assert promised is not None, f"the document does not know this status: {told}"
    sent = {name for name in HEADERS if name.lower() in answer.headers}
    assert sent <= set(promised["headers"]), told
    media_type = answer.headers.get("content-type", "").partition(";")[0]
    assert media_type in promised.get("content", {"": None}), told
    if media_type.endswith("json"):
        operation_names = ("paths", template, answer.request.method.lower())
        validator = _validator(*operation_names, "responses", str(answer.status_code), "content", media_type, "schema")
        wrong = [str(error) for error in validator.iter_errors(answer.json())]
        assert wrong == [], f"the document does not know this answer: {told}"
        for error in answer.json().get("errors", ()):
            assert set(error["params"]) == set(FieldCode(error["code"]).params), told
