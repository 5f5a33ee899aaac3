"""Every answer in the tests of routes is held against the OpenAPI document: nothing is answered that is not there."""

import copy
import re
from functools import cache
from typing import Any

import httpx2
from fastapi import FastAPI
from jsonschema_rs import Draft202012Validator

from qrtrack.domain.field_codes import MEANINGS, FieldCode
from qrtrack.main import create_app
from qrtrack.routers.contract import HEADERS
from qrtrack.settings import Settings


@cache
def application() -> FastAPI:
    """One for all tests: what differs between them, the runtime, comes with each request."""
    return create_app(Settings(_env_file=None))


@cache
def document() -> Any:
    """Of every application: settings change nothing in it."""
    return application().openapi()


@cache
def _patterns() -> list[tuple[str, re.Pattern[str]]]:
    templates = sorted(document()["paths"], key=lambda template: template.count("{"))
    return [(template, re.compile(re.sub(r"\{\w+\}", "[^/]+", template))) for template in templates]


def _operation(request: httpx2.Request) -> tuple[str, Any]:
    for template, pattern in _patterns():
        operation = document()["paths"][template].get(request.method.lower())
        if operation is not None and pattern.fullmatch(request.url.path):
            return template, operation
        if template == request.url.path:
            # The address of a word is no value of another one's parameter: this is a wrong method.
            break
    return "", None


@cache
def _components() -> Any:
    """Those of the document, but an object may have no member that is not named in it."""
    components = copy.deepcopy(document()["components"])
    for schema in components["schemas"].values():
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
    return components


@cache
def _validator(template: str, method: str, status: str, media_type: str) -> Draft202012Validator:
    promised = document()["paths"][template][method]["responses"][status]
    schema = promised["content"][media_type]["schema"]
    return Draft202012Validator({**schema, "components": _components()}, validate_formats=True)


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
        validator = _validator(template, answer.request.method.lower(), str(answer.status_code), media_type)
        wrong = [str(error) for error in validator.iter_errors(answer.json())]
        assert wrong == [], f"the document does not know this answer: {told}"
        for error in answer.json().get("errors", ()):
            assert set(error["params"]) == set(MEANINGS[FieldCode(error["code"])].params), told
