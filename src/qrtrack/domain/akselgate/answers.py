"""Decides what an answer of the gateway means. An unclear answer means unknown; only callbacks or an administrator
change that.
"""

import json
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from qrtrack.domain.akselgate.attempts import AttemptOutcome
from qrtrack.domain.akselgate.repetition import says_repetition

TAKEN = frozenset({200, 201})
REFUSED = frozenset({400, 401, 403, 404, 413, 415, 422, 429})
# These redirects keep the method, so the gateway did nothing with the batch. The client never follows them.
REDIRECTED = frozenset({307, 308})
TOKEN_REFUSED = frozenset({401, 403})
NO_STATUS = "unknown"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The response fields of an attempt. `status_code` is `unknown` when the gateway sent no HTTP status."""

    outcome: AttemptOutcome
    status_code: str = NO_STATUS
    response_code: str | None = None
    response_message: str | None = None
    response_payload: str | None = None


def judge(status: int, body: bytes, success_codes: AbstractSet[str], *, charset: str | None = None) -> Verdict:
    """Returns the verdict on a complete HTTP answer. If `success_codes` is empty, any code of a 200 or 201 is a
    success.

    The caller must still check REJECTED against the database: the bank may refuse a repetition of a batch that it paid.
    """
    payload, answer = read_object(body, charset)
    code = _text(answer, "responseCode")
    message = _text(answer, "responseMessage", "message", "error")
    outcome = AttemptOutcome.UNKNOWN
    if says_repetition(code, answer or {}, is_refusal=status not in TAKEN):
        pass
    elif status in TAKEN:
        if answer is not None and (not success_codes or code in success_codes):
            outcome = AttemptOutcome.ACCEPTED
    elif status in REDIRECTED or (status in REFUSED and (code is not None or message is not None)):
        outcome = AttemptOutcome.REJECTED
    return Verdict(outcome, str(status), code, message, payload)


def read_object(body: bytes, charset: str | None) -> tuple[str, Mapping[str, Any] | None]:
    """Returns the text of an answer, and the JSON object in it, if any.

    Tries the charset that the answer names, then the one of UTF-8, UTF-16 and UTF-32 that the first bytes look like,
    then ISO-8859-1, until the text is a JSON object.
    """
    for encoding in (charset, json.detect_encoding(body), "iso-8859-1"):
        with suppress(LookupError, ValueError):
            text = body.decode(encoding or "").removeprefix("\ufeff")
            answer = _object(text)
            if answer is not None:
                return text.replace("\0", "\\x00"), answer
    return as_text(body), None


def as_text(body: bytes) -> str:
    """Decodes UTF-8. Other bytes become escapes, and so does NUL, which PostgreSQL refuses."""
    return body.decode("utf-8", "backslashreplace").replace("\0", "\\x00")


def _object(payload: str) -> Mapping[str, Any] | None:
    try:
        answer = json.loads(payload, object_pairs_hook=_refuse_repeated_names)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def _refuse_repeated_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raises ValueError when a member occurs twice: nobody knows which value the gateway means."""
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a member occurs twice")
    return members


def _text(answer: Mapping[str, Any] | None, *names: str) -> str | None:
    """Returns the first of these members that is neither null nor empty, as text."""
    for name in names:
        value = (answer or {}).get(name)
        if value not in (None, ""):
            text = value if isinstance(value, str) else json.dumps(value)
            return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
    return None
