"""Every answer in the tests of routes is held against the OpenAPI document: nothing is answered that is not there."""

import re
from functools import lru_cache
from typing import Any

import httpx2
from fastapi import FastAPI
from pydantic import TypeAdapter

from qrtrack.domain.field_codes import MEANINGS, FieldCode
from qrtrack.routers.catalogue import catalogue
from qrtrack.routers.contract import HEADERS
from qrtrack.schemas.akselgate.dispatches import ListedEventKinds
from qrtrack.schemas.trace import TracedEventKinds

TRACE = "/api/manufacturer/trace/{code}"
ATTEMPT = "/api/akselgate/attempts/{log_id}"
EVENTS = {TRACE: TypeAdapter[Any](TracedEventKinds), ATTEMPT: TypeAdapter[Any](ListedEventKinds)}


@lru_cache(maxsize=8)
def _patterns(app: FastAPI) -> list[tuple[str, re.Pattern[str]]]:
    templates = sorted(app.openapi()["paths"], key=lambda template: template.count("{"))
    return [(template, re.compile(re.sub(r"\{\w+\}", "[^/]+", template))) for template in templates]


def _operation(app: FastAPI, request: httpx2.Request) -> tuple[str, Any]:
    for template, pattern in _patterns(app):
        operation = app.openapi()["paths"][template].get(request.method.lower())
        if operation is not None and pattern.fullmatch(request.url.path):
            return template, operation
        if template == request.url.path:
            # The address of a word is no value of another one's parameter: this is a wrong method.
            break
    return "", None


async def check(app: FastAPI, answer: httpx2.Response) -> None:
    template, operation = _operation(app, answer.request)
    if operation is None:
        return
    await answer.aread()
    told = f"{answer.request.method} {template} {answer.status_code} {answer.text[:2000]}"
    promised = operation["responses"].get(str(answer.status_code))
    assert promised is not None, f"the document does not know this status: {told}"
    sent = {name for name in HEADERS if name.lower() in answer.headers}
    assert sent <= set(promised["headers"]), told
    if answer.headers.get("content-type") == "application/problem+json":
        _check_problem(answer.json(), promised["content"]["application/problem+json"]["schema"], told)
    elif template in EVENTS:
        for event in answer.json()["events"]:
            EVENTS[template].validate_python(event)


def _check_problem(document: dict[str, Any], schema: Any, told: str) -> None:
    known = catalogue()[document["type"].removeprefix("urn:qrtrack:problem:")]
    named = [part["$ref"].rpartition("/")[2] for part in schema.get("oneOf", [schema])]
    assert known.schema_name in named, f"the document does not know this problem: {told}"
    model = known.document()
    model.model_validate(document)
    assert set(document) <= set(model.model_fields), told
    for error in document.get("errors", ()):
        assert set(error["params"]) == set(MEANINGS[FieldCode(error["code"])].params), told
