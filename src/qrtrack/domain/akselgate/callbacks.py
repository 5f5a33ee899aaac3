"""The gateway's callbacks: the address each attempt gives it, and what one of them says."""

import hmac
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from qrtrack.domain.akselgate.dispatches import CallbackState, Outcome
from qrtrack.domain.errors import NotFound

SUCCESS: Final = "00"
REFERENCE_LENGTH: Final = 255
RESULT_LENGTH: Final = 50


class UnknownCallback(NotFound):
    """The address is not one that this service gave to the gateway."""

    slug = "unknown-callback"
    title = "Not a callback address of this service"


class CallbackTokens:
    """Tokens that only this service can make, one an attempt: whoever holds one can report on that attempt alone."""

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
        raise UnknownCallback("This is no callback address of this service: use the one of the request, unchanged.")


@dataclass(frozen=True, slots=True)
class Callback:
    """One report. `raw_query` is what came, uncut; the rest is cut to what an index holds."""

    reference: str
    result: str
    result_reference: str
    raw_query: str

    @classmethod
    def read(cls, query: Iterable[tuple[str, str]], *, raw_query: str) -> "Callback":
        """A parameter that comes twice with two values says neither: both stand there, and fit nothing."""
        values: dict[str, dict[str, None]] = {}
        for name, value in query:
            values.setdefault(name, {})[value] = None
        said = {name: ",".join(different) for name, different in values.items()}
        return cls(
            _stored(said.get("ref", ""), REFERENCE_LENGTH),
            _stored(said.get("rescore", ""), RESULT_LENGTH),
            _stored(said.get("rescoreref", ""), REFERENCE_LENGTH),
            raw_query,
        )

    def state(self, failure_codes: AbstractSet[str]) -> CallbackState | None:
        """What the result says; None for every result that is neither `00` nor listed: it may be paid, or not yet."""
        if self.result == SUCCESS:
            return CallbackState.OK
        return CallbackState.FAILED if self.result in failure_codes else None


def state_after(state: CallbackState, outcome: Outcome, reported: CallbackState) -> CallbackState:
    """Reports that contradict each other, or the outcome, are a conflict; and that is the end of the row."""
    if reported is CallbackState.OK and outcome in {Outcome.REJECTED, Outcome.NOT_SENT}:
        return CallbackState.CONFLICT
    if state is CallbackState.MISSING:
        return reported
    return state if state is reported else CallbackState.CONFLICT


def _stored(text: str, longest: int) -> str:
    return text.strip().replace("\0", "\ufffd")[:longest]
