"""Callbacks of the gateway: the token in each attempt's address, and what a callback reports."""

import hmac
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from qrtrack.domain.akselgate.attempts import RELEASING, AttemptOutcome
from qrtrack.domain.errors import NotFound

SUCCESS: Final = "00"
REFERENCE_LENGTH: Final = 255
RESULT_LENGTH: Final = 50


class CallbackState(StrEnum):
    """What the gateway reported about one row. `conflict`: its reports contradict each other, or it reported as paid a
    row of an attempt that is rejected or not sent. A person must ask the bank.
    """

    MISSING = "missing"
    OK = "ok"
    FAILED = "failed"
    CONFLICT = "conflict"


class UnknownCallback(NotFound):
    """The address of the callback was not made by this service, or was made with an earlier SECRET_KEY."""

    slug = "unknown-callback"
    title = "Not a callback address of this service"


class CallbackTokens:
    """One token for each attempt, signed with SECRET_KEY. Its holder can report on this attempt only."""

    def __init__(self, secret_key: str) -> None:
        self._key = hmac.digest(secret_key.encode(), b"qrtrack/akselgate-callback", "sha256")

    def token_of(self, attempt_id: int) -> str:
        return f"{attempt_id}-{hmac.digest(self._key, str(attempt_id).encode(), 'sha256').hex()}"

    def attempt_of(self, token: str) -> int:
        """Raises UnknownCallback."""
        number = token.partition("-")[0]
        if number.isascii() and number.isdigit() and len(number) < 19:
            expected = self.token_of(int(number))
            if hmac.compare_digest(expected.encode(), token.encode(errors="replace")):
                return int(number)
        raise UnknownCallback("This service has no such callback address. Call the address of the request, unchanged.")


@dataclass(frozen=True, slots=True)
class Callback:
    """One callback. `raw_query` is complete; the other fields are cut to lengths that fit into an index."""

    reference: str
    result: str
    result_reference: str
    raw_query: str

    @classmethod
    def read(cls, query: Iterable[tuple[str, str]], *, raw_query: str) -> "Callback":
        """Reads the parameters. One that comes with two different values becomes `a,b`, which matches no reference and
        no code.
        """
        values: dict[str, dict[str, None]] = {}
        for name, value in query:
            values.setdefault(name, {})[value] = None
        joined = {name: ",".join(different) for name, different in values.items()}
        return cls(
            _clean(joined.get("ref", ""), REFERENCE_LENGTH),
            _clean(joined.get("rescore", ""), RESULT_LENGTH),
            _clean(joined.get("rescoreref", ""), REFERENCE_LENGTH),
            raw_query,
        )

    def state(self, failure_codes: AbstractSet[str]) -> CallbackState | None:
        """Returns OK for `00`, FAILED for a listed code, and None for any other result: then the payment may have been
        made.
        """
        if self.result == SUCCESS:
            return CallbackState.OK
        return CallbackState.FAILED if self.result in failure_codes else None


def state_after(state: CallbackState, outcome: AttemptOutcome, reported: CallbackState) -> CallbackState:
    """Returns the state of the row after the report: CONFLICT if the report contradicts an earlier report or the
    outcome. A row in conflict stays in conflict.
    """
    if reported is CallbackState.OK and outcome in RELEASING:
        return CallbackState.CONFLICT
    if state is CallbackState.MISSING:
        return reported
    return state if state is reported else CallbackState.CONFLICT


def _clean(text: str, longest: int) -> str:
    return text.strip().replace("\0", "\ufffd")[:longest]
