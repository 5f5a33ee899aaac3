"""The gateway's callbacks: the address each attempt gives it, and what one of them says."""

import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from qrtrack.domain.dispatches import CallbackState, Outcome
from qrtrack.domain.errors import NotFound

SUCCESS: Final = "00"
REFERENCE_LENGTH: Final = 255
RESULT_LENGTH: Final = 50
RESULT: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,19}", re.ASCII)


class UnknownCallback(NotFound):
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

    @property
    def is_success(self) -> bool:
        return self.result == SUCCESS

    @property
    def is_readable(self) -> bool:
        """A result that is no code is neither success nor failure: as a failure it would free what may be paid.

        Nor is another number of zeros: a program that takes `00` for a number writes `0`.
        """
        return RESULT.fullmatch(self.result) is not None and (self.is_success or set(self.result) != {"0"})


def state_after(state: CallbackState, outcome: Outcome, *, is_success: bool) -> CallbackState:
    """Reports that contradict each other, or the outcome, are a conflict; and that is the end of the row."""
    reported = CallbackState.OK if is_success else CallbackState.FAILED
    if is_success and outcome in {Outcome.REJECTED, Outcome.NOT_SENT}:
        return CallbackState.CONFLICT
    if state is CallbackState.MISSING:
        return reported
    return state if state is reported else CallbackState.CONFLICT


def _stored(text: str, longest: int) -> str:
    return text.strip().replace("\0", "\ufffd")[:longest]
