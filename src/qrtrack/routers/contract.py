"""Completes the OpenAPI document that FastAPI makes: the problems of every route by status, and response headers."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import RouteContext, iter_route_contexts
from pydantic.json_schema import models_json_schema

from qrtrack.domain.errors import InvalidInput, Unauthenticated, Unavailable
from qrtrack.domain.requests import AnswerTooLong, KeyReused, StillRunning
from qrtrack.integrations.token_claims import ContradictingClaims, NoOrganisation
from qrtrack.limits.heavy_work import TooMuchWork
from qrtrack.postgresql.outages import DatabaseRefused, DatabaseUnavailable
from qrtrack.routers.bodies import RepeatedKey, TooManyValues
from qrtrack.routers.catalogue import URN, ProblemType, catalogue
from qrtrack.routers.dependencies import (
    MissingRole,
    OriginMissing,
    OtherOrganisation,
    OtherUser,
    known_caller,
    machine_caller,
)
from qrtrack.routers.http_problems import (
    BODY_TOO_LARGE,
    INTERNAL_ERROR,
    INVALID_JSON,
    INVALID_LENGTH,
    ORIGIN_REFUSED,
    REPEATED_HEADER,
)
from qrtrack.routers.idempotency import KEY_HEADER, REPLAYED_HEADER
from qrtrack.routers.problems import DECLARED, ProblemResponse, Refusal
from qrtrack.routers.waiting import long_poll

JSON: Final = "application/json"
SCHEMAS: Final = "#/components/schemas/"
HEADERS: Final[Mapping[str, str]] = {
    "X-Request-ID": "The request's id: the caller's own if it consists of 1 to 100 letters, digits, `.`, `_` and `-`. "
    "Every log line of the request contains it.",
    "Location": "The address of what was created.",
    "Retry-After": "How many seconds to wait before the next try.",
    "WWW-Authenticate": "How to sign in.",
    REPLAYED_HEADER: "`true` if this is the stored answer of an earlier request with the same Idempotency-Key.",
    "ETag": "Send it as If-None-Match: unchanged content is then not sent again.",
}
WEBHOOK_TOKEN: Final = {
    "type": "apiKey",
    "in": "header",
    "name": "X-Webhook-Token",
    "description": "`ACCURATE_WEBHOOK_TOKEN`; also taken as `Authorization: Bearer` or `?token=`.",
}
TAGS: Final[Mapping[str, str]] = {
    "batches": "Codes that were ordered together: ordering, importing, viewing, closing, and their QR.",
    "codes": "Single units: printed, void, readmitted.",
    "reverse jobs": "Preparing the codes of a batch for packing, except the damaged ones that are listed.",
    "linking": "Packing units into master cases, and taking them out again.",
    "exports": "Sheets of codes, cases, queues and settlements for other programs: CSV and XLSX.",
    "labels": "Labels of units and cases: formats, jobs, files, printers, and QR symbols.",
    "verification": "What consumers ask without a token: checking, redeeming and reporting a product.",
    "recalls": "Releasing batches for sale, recalling units, and what consumers' checks have shown.",
    "trace": "Where a unit or a case has been.",
    "search": "Finding units, cases, jobs and batches by a scanned or typed text.",
    "accurate": "Events and documents of the accounting system.",
    "webhooks": "What the accounting system calls.",
    "settlement dispatch": "Sending settlements to the bank gateway, at most once.",
    "progress": "Progress batches: long work of other systems, counted here.",
    "worker": "Queued work, done by a cron service instead of a standing process.",
    "health": "For those who watch the service.",
}
Document = dict[str, Any]


def complete(document: Document, app: FastAPI) -> None:
    """Completes the document in place. Raises KeyError if the document lacks a route."""
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas.update(_problem_schemas())
    components.setdefault("securitySchemes", {})["WebhookToken"] = WEBHOOK_TOKEN
    components["headers"] = {
        name: {"description": text, "schema": {"type": "string"}} for name, text in HEADERS.items()
    }
    for context in iter_route_contexts(app.routes):
        for method in context.methods or () if getattr(context, "include_in_schema", False) else ():
            if operation := document["paths"].get(context.path_format, {}).get(method.lower()):
                _complete_operation(operation, context)
    for name in schemas.keys() - _reached([document["paths"], schemas["Problem"]], schemas) - {"Problem"}:
        del schemas[name]
    document["tags"] = [{"name": name, "description": text} for name, text in TAGS.items()]
    _make_defaults_optional(document)


def _complete_operation(operation: Document, context: RouteContext) -> None:
    answers = operation["responses"]
    for status in [status for status in answers if status == "default" or status >= "400"]:
        del answers[status]
    by_status: dict[int, list[ProblemType]] = {}
    slugs = {*_declared(context), *(refusal.slug for refusal in _common(context))}
    for known in catalogue().values():
        if known.slug in slugs:
            by_status.setdefault(known.status, []).append(known)
    answers.update({str(status): _answer(known) for status, known in by_status.items()})
    takes_key = _takes_key(context.dependant)
    calls = {asked.call for asked in _flat(context.dependant)}
    if context.methods == {"GET"} and known_caller in calls:
        answers["304"] = {"description": "The client has it already."}
    for status, answer in answers.items():
        # The outcome of a dispatch is stored as an answer to repeat, even if the gateway failed.
        is_kept = takes_key and (status < "300" or ("504" in answers and status in ("502", "503", "504")))
        for name in _headers_of(status, answers, is_kept=is_kept, may_wait=long_poll in calls):
            answer.setdefault("headers", {})[name] = {"$ref": f"#/components/headers/{name}"}


def _declared(context: RouteContext) -> Iterator[str]:
    for response in context.responses.values():
        yield from response.get(DECLARED, ())


def _common(context: RouteContext) -> Iterator[Refusal]:
    """Yields what every route of its kind may refuse."""
    yield from (INTERNAL_ERROR, REPEATED_HEADER)
    if context.methods != {"GET"}:
        yield ORIGIN_REFUSED
    yield from _of_callers(context)
    if _reads_input(context.dependant):
        yield InvalidInput
    if context.body_field is not None:
        yield from (INVALID_JSON, INVALID_LENGTH, BODY_TOO_LARGE)
        if context.body_field.field_info.media_type == JSON:
            yield from (RepeatedKey, TooManyValues)
        if known_caller in {asked.call for asked in _flat(context.dependant)}:
            yield TooMuchWork
    if _takes_key(context.dependant):
        yield from (StillRunning, KeyReused, AnswerTooLong)


def _of_callers(context: RouteContext) -> Iterator[Refusal]:
    calls = {asked.call for asked in _flat(context.dependant)}
    if calls & {known_caller, machine_caller}:
        yield from (Unauthenticated, Unavailable, DatabaseUnavailable, DatabaseRefused)
    if known_caller in calls:
        yield from (NoOrganisation, ContradictingClaims, MissingRole)
        if context.methods != {"GET"}:
            yield from (OriginMissing, OtherUser)
        if context.body_field is not None:
            yield OtherOrganisation


def _flat(dependant: Dependant) -> Iterator[Dependant]:
    yield dependant
    for asked in dependant.dependencies:
        yield from _flat(asked)


def _reads_input(dependant: Dependant) -> bool:
    """Returns whether the route validates any input. A path parameter that takes any text does not count."""
    return any(
        asked.query_params
        or asked.header_params
        or asked.body_params
        or any(param.field_info.annotation is not str or param.field_info.metadata for param in asked.path_params)
        for asked in _flat(dependant)
    )


def _takes_key(dependant: Dependant) -> bool:
    return any(param.alias == KEY_HEADER for asked in _flat(dependant) for param in asked.header_params)


def _answer(known: list[ProblemType]) -> Document:
    return {
        "description": "\n".join(f"- `{one.slug}`: {one.meaning}" for one in known),
        "content": {str(ProblemResponse.media_type): {"schema": _one_of(known)}},
    }


def _one_of(known: Iterable[ProblemType]) -> Document:
    schemas = {f"{URN}{one.slug}": f"{SCHEMAS}{one.schema_name}" for one in known}
    if len(schemas) == 1:
        return {"$ref": next(iter(schemas.values()))}
    return {
        "oneOf": [{"$ref": schema} for schema in schemas.values()],
        "discriminator": {"propertyName": "type", "mapping": schemas},
    }


def _problem_schemas() -> Document:
    """Returns the schema of each type, and `Problem`, which is any of them."""
    known = catalogue().values()
    _, definitions = models_json_schema(
        [(one.document(), "serialization") for one in known], ref_template=SCHEMAS + "{model}"
    )
    schemas: Document = definitions["$defs"]
    return schemas | {"Problem": {"title": "Problem", "description": "Any refusal.", **_one_of(known)}}


def _headers_of(status: str, answers: Document, *, is_kept: bool, may_wait: bool) -> Iterator[str]:
    yield "X-Request-ID"
    if status in ("201", "202"):
        yield "Location"
    if status == "401":
        yield "WWW-Authenticate"
    # A long poll that finds no place says when to come again.
    if status in ("429", "503") or (may_wait and status in ("200", "304")):
        yield "Retry-After"
    if "304" in answers and status in ("200", "304"):
        yield "ETag"
    if is_kept:
        yield REPLAYED_HEADER


def _make_defaults_optional(document: Document) -> None:
    """Moves the default of each request field into its description. Type generators would treat a field with a default
    as always present, and would demand it from the caller.
    """
    bodies = [
        operation["requestBody"]
        for by in document["paths"].values()
        for operation in by.values()
        if "requestBody" in operation
    ]
    schemas = document["components"]["schemas"]
    for name in _reached(bodies, schemas):
        for member in schemas[name].get("properties", {}).values():
            if "default" in member:
                said = member.get("description", "")
                default = json.dumps(member.pop("default"))
                member["description"] = f"{said} Left out: `{default}`.".strip()


def _reached(parts: Iterable[Any], schemas: Document) -> set[str]:
    """Returns the names of the schemas that these parts of the document refer to, directly or indirectly."""
    reached: set[str] = set()
    waiting = list(parts)
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            name = str(part.get("$ref", "")).removeprefix(SCHEMAS)
            if name in schemas and name not in reached:
                reached.add(name)
                waiting.append(schemas[name])
            waiting += part.values()
    return reached
