"""One thing has one name in the API, and one name means one thing: the whole OpenAPI document is walked."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI

# Once the name of something that has another name elsewhere. The specification fixes the exceptions.
DROPPED = {
    "id": "what it identifies: batch_id, job_id, event_id, log_id, queue_id, worker_id, subject_id",
    "databaseId": "database_id",
    "user": "actor",
    "operator": "actor",
    "completed_at": "finished_at",
    "ended_at": "finished_at",
    "error": "error_message",
    "last_error": "error_message",
    "failure_reason": "error_message",
    "attempt_id": "log_id",
    "total_transaksi": "total_transactions",
    "status_code_res": "status_code",
    "response_message": "message",
}
FIXED = {
    # Outcomes of other systems' records come in, and go out, as `{"key", "success", "error"}`.
    "ReportedRecord.error",
    "FailedRecord.error",
    "ListedFailure.error",
    # Filters of the specification.
    "GET /api/manufacturer/packs?user",
    "GET /api/accurate/events?database",
    # Details of events stand as they were written: their rows never change.
    "LateResponseDetails.response_message",
    "SentBefore.attempt_id",
    # How much damage a QR symbol survives: the field's own term.
    *(
        f"GET /api/manufacturer/batches/{{batch_id}}{part}/qr.{kind}?error"
        for part in ("", "/codes/{code}", "/cases/{case_number}")
        for kind in ("svg", "png")
    ),
}
# Names that stand for two kinds of value because the specification uses them so.
TWO_KINDS = {
    "accepted": {"boolean", "integer"},  # one code's result; how many records
    "attempts": {"array", "integer"},  # the list of attempts; how often a job was tried
    "before": {"object", "string"},  # of a repair the counters; of a conflict the row's state
    "cases": {"array", "object"},  # the list of cases; how many there are
    "conflicts": {"array", "integer"},  # of an event the list; of the whole service how many
    "events": {"array", "integer"},  # the list of events; how many a database sent
    "code": {"object", "string"},  # of a trace the unit itself
    "result": {"object", "string"},  # of a check of a unit; of a worker's job its summary
    "rows": {"array", "integer"},  # rows of a table; of a sheet of labels how many there are
    "status": {"integer", "string"},  # of a problem the HTTP status (RFC 9457)
}


def parts(schema: Any) -> Iterator[Any]:
    """The schema and what it is made of where it stands: lists and unions, references not followed."""
    yield schema
    for inner in (*schema.get("anyOf", ()), *schema.get("allOf", ()), *schema.get("oneOf", ())):
        yield from parts(inner)


def properties(document: Any) -> Iterator[tuple[str, str, Any]]:
    """Where, name and schema of every property, those of nested objects and of array items included."""

    def inside(where: str, schema: Any) -> Iterator[tuple[str, str, Any]]:
        for part in parts(schema):
            for name, found in part.get("properties", {}).items():
                yield f"{where}.{name}", name, found
                yield from inside(f"{where}.{name}", found)
            if isinstance(part.get("items"), dict):
                yield from inside(where, part["items"])

    for title, schema in document["components"]["schemas"].items():
        yield from inside(title, schema)


def parameters(document: Any) -> Iterator[tuple[str, str, Any]]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for found in operation.get("parameters", ()):
                yield f"{method.upper()} {path}?{found['name']}", found["name"], found


def kinds(document: Any, schema: Any) -> set[str]:
    """The JSON types that a value may have, null apart."""
    found: set[str] = set()
    for part in parts(schema):
        if "$ref" in part:
            found |= kinds(document, document["components"]["schemas"][part["$ref"].rpartition("/")[2]])
        elif "type" in part:
            found.add("integer" if part["type"] == "number" else part["type"])
        elif "const" in part:
            found.add("boolean" if isinstance(part["const"], bool) else "string")
    return found - {"null"}


@pytest.fixture
def document(app: FastAPI) -> Any:
    return app.openapi()


def test_dropped_names_do_not_come_back(document: Any) -> None:
    everything = [*properties(document), *parameters(document)]
    assert len(everything) > 300
    dropped = {where: DROPPED[name] for where, name, _ in everything if name in DROPPED}
    assert dropped.keys() - FIXED == set(), dropped
    assert {name for _, name, _ in parameters(document) if name.endswith("Id")} == set()


def test_the_exceptions_are_still_there(document: Any) -> None:
    everything = {where for where, _, _ in [*properties(document), *parameters(document)]}
    assert FIXED - everything == set()


def test_a_name_means_one_kind_of_value(document: Any) -> None:
    found: dict[str, set[str]] = defaultdict(set)
    for _, name, schema in properties(document):
        found[name] |= kinds(document, schema)
    # What was sent to the bank may write an amount as a number.
    found["amount"] -= {"integer"}
    assert {name: values for name, values in found.items() if len(values) > 1} == TWO_KINDS


# Fields that hold a word of a closed set, and those of these names whose words are other systems'.
WORDS = {
    "action", "callback_state", "completeness", "forward_status", "kind", "level", "outcome", "state", "status",
    "status_of_batch", "transaction_type",
}  # fmt: skip
OTHERS_WORDS = {"SyncAnswer.kind", "SyncBody.kind", "SyncState.kind", "DocumentView.action"}


def is_closed(document: Any, schema: Any) -> bool:
    """Whether every text that it may be is listed."""
    inner = [part for name in ("anyOf", "oneOf") for part in schema.get(name, ())]
    if "$ref" in schema:
        inner = [document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]]
    if inner:
        return all(is_closed(document, part) for part in inner)
    return schema.get("type") != "string" or "enum" in schema or "const" in schema


def test_a_word_of_a_closed_set_is_listed(document: Any) -> None:
    found = [(where, schema) for where, name, schema in properties(document) if name in WORDS]
    assert len(found) > 50
    assert {where for where, schema in found if not is_closed(document, schema)} == OTHERS_WORDS
    result = document["components"]["schemas"]["CodeResult"]["properties"]
    assert is_closed(document, result["reason"])
    assert not is_closed(document, result["detail"])


def test_an_instant_is_named_and_typed_as_one(document: Any) -> None:
    def is_instant(schema: Any) -> bool:
        return any(part.get("format") == "date-time" for part in parts(schema))

    wrong = [
        where
        for where, name, schema in properties(document)
        # The first label's place on a sheet has its name from the specification.
        if is_instant(schema) != ((name.endswith("_at") and name != "start_at") or name in {"timestamp", "at"})
    ]
    assert wrong == []
    assert sum(is_instant(schema) for _, _, schema in properties(document)) > 30


def test_path_parameters_have_the_agreed_names(document: Any) -> None:
    names = {name for _, name, found in parameters(document) if found["in"] == "path"}
    assert names == {
        "batch_id",
        "log_id",
        "queue_id",
        "code",
        "token",
        "case_number",
        "label_job_id",
        "name",
        "prefix",
        "recall_id",
        "printer_id",
        "print_job_id",
    }


def test_both_names_of_a_database_are_taken_and_the_older_one_is_marked(document: Any) -> None:
    listed = document["paths"]["/api/accurate/events"]["get"]["parameters"]
    assert {
        found["name"]: found["schema"].get("deprecated", False) for found in listed if "database" in found["name"]
    } == {
        "database_id": False,
        "database": True,
    }
