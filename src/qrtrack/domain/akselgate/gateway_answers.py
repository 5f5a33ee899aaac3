"""What an answer of the gateway means, or its absence. What is not clear is unknown, and stays so until a person or the
callbacks say otherwise.
"""

import json
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from qrtrack.domain.akselgate.dispatches import Outcome
from qrtrack.domain.akselgate.repetition import says_repetition

TAKEN = frozenset({200, 201})
REFUSED = frozenset({400, 401, 403, 404, 413, 415, 422, 429})
# The two redirections that keep the method: the gateway did nothing with the batch. The client never follows them.
ELSEWHERE = frozenset({307, 308})
TOKEN_REFUSED = frozenset({401, 403})
NO_STATUS = "unknown"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The response fields of an attempt. `status_code` is `unknown` when no HTTP status came."""

    outcome: Outcome
    status_code: str = NO_STATUS
    response_code: str | None = None
    response_message: str | None = None
    response_payload: str | None = None


def judge(status: int, body: bytes, success_codes: AbstractSet[str], *, charset: str | None = None) -> Verdict:
    """The meaning of a complete HTTP answer.

    `success_codes`: empty where any code of a 2xx is good. `charset`: as the answer names it. A refusal is not the last
    word on a batch whose references were sent before: that only the database knows.
    """
    payload, answer = read_object(body, charset)
    code = _word(answer, "responseCode")
    message = _word(answer, "responseMessage", "message", "error")
    outcome = Outcome.UNKNOWN
    if says_repetition(code, answer or {}, is_refusal=status not in TAKEN):
        pass
    elif status in TAKEN:
        if answer is not None and (not success_codes or code in success_codes):
            outcome = Outcome.ACCEPTED
    elif status in ELSEWHERE or (status in REFUSED and (code is not None or message is not None)):
        outcome = Outcome.REJECTED
    return Verdict(outcome, str(status), code, message, payload)


def read_object(body: bytes, charset: str | None) -> tuple[str, Mapping[str, Any] | None]:
    """The text of an answer, and the JSON object in it, if any.

    The charset that the answer names goes first, then UTF-8, UTF-16 and UTF-32 as JSON allows them, then ISO-8859-1,
    which reads any bytes: the first in which the text is a JSON object is the one.
    """
    for encoding in (charset, json.detect_encoding(body), "iso-8859-1"):
        with suppress(LookupError, ValueError):
            text = body.decode(encoding or "").removeprefix("\ufeff")
            answer = _object(text)
            if answer is not None:
                return text.replace("\0", "\\x00"), answer
    return as_text(body), None


def as_text(body: bytes) -> str:
    """Nothing is lost: what is not UTF-8, and NUL, which PostgreSQL refuses, stand there as escapes."""
    return body.decode("utf-8", "backslashreplace").replace("\0", "\\x00")


def _object(payload: str) -> Mapping[str, Any] | None:
    try:
        answer = json.loads(payload, object_pairs_hook=_named_once)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raises ValueError where a member stands twice: nobody knows which of the two the gateway means."""
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a member stands twice")
    return members


def _word(answer: Mapping[str, Any] | None, *names: str) -> str | None:
    """The first of the members that says something."""
    for name in names:
        value = (answer or {}).get(name)
        if value not in (None, ""):
            text = value if isinstance(value, str) else json.dumps(value)
            return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
    return None
