"""What Schemathesis loads: it bounds the work of sound requests, and keeps a list of what was answered."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import schemathesis
from schemathesis import Case, HookContext, Response
from schemathesis.core.failures import AcceptedNegativeData, Failure

ANSWERED = Path(os.environ["CONTRACT_ANSWERED"])
# Sound values whose work would take minutes: a million codes, an hour of the worker, half a minute of waiting.
MOST = {"quantity": 200, "max_seconds": 1, "wait": 0.2}


@schemathesis.hook
def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:
    for fields in (case.query, case.body):
        if isinstance(fields, dict):
            for name in MOST.keys() & fields.keys():
                value: Any = fields[name]
                if type(value) in (int, float):
                    fields[name] = min(value, MOST[name])


@schemathesis.hook
def filter_failure(context: HookContext, failure: Failure, case: Case[Any], response: Response) -> bool:
    """Blanks around text are dropped before it is looked at, which JSON Schema cannot say."""
    accepted = isinstance(failure, AcceptedNegativeData)
    return not (accepted and is_padded([case.path_parameters, case.query, case.body]))


def is_padded(value: Any) -> bool:
    if isinstance(value, str):
        return value != value.strip()
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return any(map(is_padded, parts))


@schemathesis.hook
def after_call(context: HookContext, case: Case[Any], response: Response) -> None:
    if case.method == case.operation.method.upper():
        operation = case.operation.definition.raw["operationId"]
        with ANSWERED.open("a") as answered:
            answered.write(f"{operation} {response.status_code}\n")
