"""The OpenAPI document is the whole contract: every operation says all that a client's author needs."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI

from qrtrack.domain.akselgate.attempts import EventKind
from qrtrack.domain.errors import DomainError
from qrtrack.domain.field_codes import FieldCode
from qrtrack.routers.catalogue import catalogue
from qrtrack.routers.contract import TAGS
from qrtrack.routers.http_problems import CONNECTION_PROBLEMS
from qrtrack.schemas.akselgate.attempt_details import ATTEMPT_DETAILS
from qrtrack.schemas.base import PATTERNS
from qrtrack.schemas.problem import MEMBERS
from qrtrack.schemas.trace_details import TRACE_DETAILS
from scripts.problems_page import PAGE, page
from test_tree import ROOT

VERBS = {
    "add", "cancel", "change", "check", "claim", "close", "confirm", "create", "delete", "dispatch", "export",
    "forget", "get", "import", "lift",
    "link",
    "list", "mark", "move", "pack", "print", "read", "readmit", "recalculate", "recall", "receive", "reconcile",
    "redeem", "release", "replay", "report", "resolve", "retry", "run", "search", "store", "submit", "trace", "unlink",
    "verify", "void",
}  # fmt: skip
# They answer anybody.
OPEN = {
    "receive_callback", "check_liveness", "check_readiness", "read_metrics", "verify_unit", "redeem_unit",
    "report_product",
}  # fmt: skip
SCHEMES = {"UserToken", "MachineSecret", "WebhookToken"}

Operation = tuple[str, dict[str, Any]]


@pytest.fixture
def document(app: FastAPI) -> dict[str, Any]:
    return app.openapi()


@pytest.fixture
def operations(document: dict[str, Any]) -> list[Operation]:
    return [
        (f"{method.upper()} {path}", operation)
        for path, by_method in document["paths"].items()
        for method, operation in by_method.items()
    ]


def test_operation_ids_are_verb_and_noun_and_unique(operations: list[Operation]) -> None:
    names = [operation["operationId"] for _, operation in operations]
    assert len(set(names)) == len(names)
    assert [name for name in names if not re.fullmatch(r"[a-z]+(_[a-z]+)+", name)] == []
    assert {name.partition("_")[0] for name in names} - VERBS == set()


def test_every_operation_has_a_summary_a_description_and_a_tag(operations: list[Operation]) -> None:
    for name, operation in operations:
        summary = operation["summary"]
        # What the framework makes of a function's name is no sentence.
        made = operation["operationId"].replace("_", " ").title()
        assert summary != made, name
        assert re.fullmatch(r"[A-Z][^.\n]{3,60}", summary), name
        assert operation["description"], name
        assert len(operation["tags"]) == 1, name


def test_every_tag_is_described_and_used(document: dict[str, Any], operations: list[Operation]) -> None:
    assert {tag for _, operation in operations for tag in operation["tags"]} == set(TAGS)
    assert [tag["name"] for tag in document["tags"]] == list(TAGS)
    assert all(tag["description"] for tag in document["tags"])


def test_every_operation_names_its_kind_of_caller(document: dict[str, Any], operations: list[Operation]) -> None:
    assert set(document["components"]["securitySchemes"]) == SCHEMES
    assert all(scheme["description"] for scheme in document["components"]["securitySchemes"].values())
    for name, operation in operations:
        schemes = [scheme for asked in operation.get("security", ()) for scheme in asked]
        if operation["operationId"] in OPEN:
            assert schemes == [], name
        else:
            assert len(schemes) == 1, name
            assert schemes[0] in SCHEMES, name


def slugs(operation: dict[str, Any], status: str) -> set[str]:
    schema = operation["responses"][status]["content"]["application/problem+json"]["schema"]
    schemas = {known.schema_name: known.slug for known in catalogue().values()}
    return {schemas[part["$ref"].rpartition("/")[2]] for part in schema.get("oneOf", [schema])}


def test_every_operation_says_who_may_and_when_to_try_again(operations: list[Operation]) -> None:
    for name, operation in operations:
        if operation.get("security"):
            assert slugs(operation, "401") == {"unauthenticated"}, name
            assert {"unavailable", "database-unavailable"} <= slugs(operation, "503"), name
        if operation.get("security") == [{"UserToken": []}]:
            assert {"missing-role", "no-organisation"} <= slugs(operation, "403"), name
            if "requestBody" in operation:
                assert {"other-organisation", "other-user"} <= slugs(operation, "403"), name


def test_operations_that_read_a_body_document_its_refusals(operations: list[Operation]) -> None:
    for name, operation in operations:
        if "requestBody" in operation:
            assert slugs(operation, "413") == {"body-too-large"}, name
            assert "invalid-json" in slugs(operation, "400"), name
        if operation.get("parameters") and operation["operationId"] != "receive_callback":
            assert "invalid-input" in slugs(operation, "422"), name
        takes_key = "Idempotency-Key" in [parameter["name"] for parameter in operation.get("parameters", ())]
        if takes_key:
            assert "idempotency-key-in-use" in slugs(operation, "409"), name
            assert "idempotency-key-reused" in slugs(operation, "422"), name


def test_every_refusal_is_one_of_the_catalogue(document: dict[str, Any], operations: list[Operation]) -> None:
    for name, operation in operations:
        assert "default" not in operation["responses"], name
        for status in operation["responses"]:
            for slug in slugs(operation, status) if status >= "400" else ():
                assert catalogue()[slug].status == int(status), (name, slug)
    schemas = document["components"]["schemas"]
    for known in catalogue().values():
        schema = schemas[known.schema_name]
        assert schema["properties"]["type"]["const"] == f"urn:qrtrack:problem:{known.slug}"
        assert schema["properties"]["status"]["const"] == known.status
        assert {"type", "status", "title", "detail", "success"} <= set(schema["required"])
    assert len(schemas["Problem"]["oneOf"]) == len(catalogue())


def test_every_problem_is_one_of_an_operation(operations: list[Operation]) -> None:
    """But those of addresses that are none, of preflights, and of connections, where there is no operation yet."""
    answered = {
        slug
        for _, operation in operations
        for status in operation["responses"]
        if status >= "400"
        for slug in slugs(operation, status)
    }
    assert set(catalogue()) - answered == {
        *("no-such-route", "method-not-allowed", "cors-refused"),
        *(problem.slug for problem in CONNECTION_PROBLEMS.values()),
    }


def test_headers_are_documented(document: dict[str, Any], operations: list[Operation]) -> None:
    known = document["components"]["headers"]
    for name, operation in operations:
        takes_key = "Idempotency-Key" in [parameter["name"] for parameter in operation.get("parameters", ())]
        for status, answer in operation["responses"].items():
            headers = set(answer["headers"])
            assert headers <= set(known), name
            assert "X-Request-ID" in headers, (name, status)
            assert "Retry-After" in headers or status != "503", (name, status)
            assert ("WWW-Authenticate" in headers) is (status == "401"), (name, status)
            assert ("Location" in headers) is (status in {"201", "202"}), (name, status)
            if status < "300":
                assert ("Idempotency-Replayed" in headers) is takes_key, (name, status)


def reached(document: dict[str, Any], parts: list[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    schemas, seen, waiting = document["components"]["schemas"], set(), list(parts)
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            name = str(part.get("$ref", "")).rpartition("/")[2]
            if name in schemas and name not in seen:
                seen.add(name)
                waiting.append(schemas[name])
                yield name, schemas[name]
            waiting += part.values()


def test_members_that_are_always_answered_are_required(document: dict[str, Any], operations: list[Operation]) -> None:
    good = [answer for _, operation in operations for status, answer in operation["responses"].items() if status < "3"]
    optional = {
        name: set(schema["properties"]) - set(schema.get("required", ()))
        for name, schema in reached(document, good)
        if "properties" in schema
    }
    assert {name: left_out for name, left_out in optional.items() if left_out} == {
        "ConflictDetails": {"before", "reported", "paid_references"},
        "PossibleCasesDetails": {"master_codes"},
    }


def test_every_pattern_of_a_text_has_a_code_of_its_own(document: dict[str, Any]) -> None:
    patterns = set(re.findall(r'"pattern": ("(?:[^"\\\\]|\\\\.)*")', json.dumps(document)))
    assert patterns
    assert {json.loads(pattern) for pattern in patterns} <= set(PATTERNS)


def test_a_field_with_a_default_is_not_required(document: dict[str, Any], operations: list[Operation]) -> None:
    bodies = [operation["requestBody"] for _, operation in operations if "requestBody" in operation]
    found = dict(reached(document, bodies))
    assert set(found["JobRequest"]["required"]) == {"batch_id", "order_id", "exclude_codes"}
    for name, schema in found.items():
        # Generators of types take a field with a default for one that is always there.
        assert [member for member, one in schema.get("properties", {}).items() if "default" in one] == [], name
    assert found["PackRequest"]["properties"]["allow_partial"]["description"].endswith("Left out: `false`.")


def unbounded(document: dict[str, Any], schema: dict[str, Any], way: str, known: frozenset[str]) -> Iterator[str]:
    """Ways to the arrays without maxItems, and to the strings of any length. A file is bounded as a body is."""
    if reference := schema.get("$ref"):
        if reference not in known:
            named = document["components"]["schemas"][reference.rpartition("/")[2]]
            yield from unbounded(document, named, way, known | {reference})
        return
    kinds = schema.get("type", ())
    if "array" in kinds and "maxItems" not in schema:
        yield f"{way}: maxItems"
    # In our patterns `*+` stands only inside a class of characters.
    has_end = {"maxLength", "enum", "const", "format", "contentMediaType"} & schema.keys()
    if "string" in kinds and not has_end and re.search(r"[*+]|,\}|^$", schema.get("pattern", "").replace("*+", "")):
        yield f"{way}: maxLength"
    inside = {"items": schema.get("items"), "{}": schema.get("additionalProperties"), **schema.get("properties", {})}
    inside |= {
        f"{kind}/{place}": one for kind in ("anyOf", "oneOf", "allOf") for place, one in enumerate(schema.get(kind, ()))
    }
    for name, part in inside.items():
        if isinstance(part, dict):
            yield from unbounded(document, part, f"{way}/{name}", known)


def test_every_list_and_every_text_of_a_request_has_a_bound(
    document: dict[str, Any], operations: list[Operation]
) -> None:
    asked = [
        (f"{name} {parameter['name']}", parameter["schema"])
        for name, operation in operations
        for parameter in operation.get("parameters", ())
    ] + [
        (name, content["schema"])
        for name, operation in operations
        for content in operation.get("requestBody", {}).get("content", {}).values()
    ]
    assert [found for way, schema in asked for found in unbounded(document, schema, way, frozenset())] == []
    assert list(unbounded(document, {"type": "array", "items": {"type": "string"}}, "x", frozenset())) == [
        "x: maxItems",
        "x/items: maxLength",
    ]


def test_no_schema_is_an_object_of_which_nothing_is_known(document: dict[str, Any]) -> None:
    for name, schema in document["components"]["schemas"].items():
        if schema.get("type") == "object":
            assert "properties" in schema or "additionalProperties" in schema, name
            assert schema.get("properties") or schema.get("additionalProperties") is False, name


def test_every_refusal_of_the_program_says_what_it_means() -> None:
    for known in catalogue().values():
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", known.slug)
        assert known.title
        assert re.fullmatch(r"[A-Z].*\.", known.meaning), known.slug
    assert {refusal.slug for refusal in MEMBERS} <= set(catalogue())


def test_no_two_refusals_share_a_slug() -> None:
    owners: dict[str, list[str]] = {}
    waiting: list[type[DomainError]] = [DomainError]
    while waiting:
        refusal = waiting.pop()
        waiting += refusal.__subclasses__()
        if refusal.__module__.startswith("qrtrack.") and "slug" in vars(refusal):
            owners.setdefault(refusal.slug, []).append(refusal.__name__)
    assert {slug: names for slug, names in owners.items() if len(names) > 1} == {}


def test_every_code_of_errors_is_explained() -> None:
    for code in FieldCode:
        named = set(re.findall(r"`(\w+)`", code.sentence)) - {"detail"}
        assert code.sentence
        assert named == set(code.params), code.sentence


def test_the_page_of_problems_is_what_the_program_writes() -> None:
    assert PAGE.read_text() == page(), "run: make docs"


def test_every_kind_of_event_has_its_details() -> None:
    source = "\n".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    recorded = set(re.findall(r"trace\.add(?:_of_recall)?\(\s*\"([a-z_.]+)\"", source)) | {"case.packed"}
    # Those of fan-outs belong to no code and no case.
    assert {action for action in recorded if not action.startswith("progress.")} == set(TRACE_DETAILS)
    # Callbacks are listed beside the rows.
    assert set(ATTEMPT_DETAILS) == set(EventKind) - {EventKind.CALLBACK}
