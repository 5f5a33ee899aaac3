"""What an answer of the gateway means, or its absence. What is not clear is unknown, and stays so until a person or the
callbacks say otherwise.
"""

import json
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from qrtrack.domain.dispatches import Outcome

TAKEN = frozenset({200, 201})
REFUSED = frozenset({400, 401, 403, 404, 413, 415, 422, 429})
TOKEN_REFUSED = frozenset({401, 403})
# A repetition that the gateway refuses may be of a request that it took: nobody here knows.
REPEATED = ("duplicate", "duplikat")
NO_STATUS = "unknown"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The response fields of an attempt. `status_code` is `unknown` when no HTTP status came."""

    outcome: Outcome
    status_code: str = NO_STATUS
    response_code: str | None = None
    response_message: str | None = None
    response_payload: str | None = None


def judge(status: int, body: bytes, success_codes: AbstractSet[str]) -> Verdict:
    """The meaning of a complete HTTP answer. `success_codes`: empty where any code of a 2xx is good."""
    payload = as_text(body)
    answer = _object(payload)
    code = _word(answer, "responseCode")
    message = _word(answer, "responseMessage", "message", "error")
    readable = code is not None or message is not None
    outcome = Outcome.UNKNOWN
    if any(word in f"{code} {message}".lower() for word in REPEATED):
        pass
    elif status in TAKEN:
        if answer is not None and (not success_codes or code in success_codes):
            outcome = Outcome.ACCEPTED
    elif (status in REFUSED and readable) or 300 <= status < 400:
        outcome = Outcome.REJECTED
    return Verdict(outcome, str(status), code, message, payload)


def as_text(body: bytes) -> str:
    """Nothing is lost: what is not UTF-8, and NUL, which PostgreSQL refuses, stand there as escapes."""
    return body.decode("utf-8", "backslashreplace").replace("\0", "\\x00")


def _object(payload: str) -> Mapping[str, Any] | None:
    try:
        answer = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def _word(answer: Mapping[str, Any] | None, *names: str) -> str | None:
    """The first of the members that says something."""
    for name in names:
        value = (answer or {}).get(name)
        if value not in (None, ""):
            text = value if isinstance(value, str) else json.dumps(value)
            return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
    return None
