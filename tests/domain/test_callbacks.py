from urllib.parse import parse_qsl

import pytest

from qrtrack.domain.callbacks import Callback, CallbackTokens, UnknownCallback, state_after
from qrtrack.domain.dispatches import CallbackState as State
from qrtrack.domain.dispatches import Outcome

TOKENS = CallbackTokens("a secret")


def test_a_token_leads_back_to_its_attempt_alone() -> None:
    token = TOKENS.token_of(17)
    assert TOKENS.attempt_of(token) == 17
    assert token.removeprefix("17") not in TOKENS.token_of(18)


@pytest.mark.parametrize(
    "token",
    ["", "17", "17-", "x", TOKENS.token_of(17).replace("17-", "18-"), TOKENS.token_of(17) + "0", "٣-a", "9" * 30,
     CallbackTokens("another").token_of(17), "17-\ud800é"],
)  # fmt: skip
def test_another_token_is_refused(token: str) -> None:
    with pytest.raises(UnknownCallback):
        TOKENS.attempt_of(token)


@pytest.mark.parametrize(
    ("state", "outcome", "is_success", "after"),
    [
        (State.MISSING, Outcome.ACCEPTED, True, State.OK),
        (State.MISSING, Outcome.SENDING, False, State.FAILED),
        (State.OK, Outcome.ACCEPTED, True, State.OK),
        (State.FAILED, Outcome.ACCEPTED, False, State.FAILED),
        (State.FAILED, Outcome.ACCEPTED, True, State.CONFLICT),
        (State.OK, Outcome.ACCEPTED, False, State.CONFLICT),
        (State.CONFLICT, Outcome.ACCEPTED, True, State.CONFLICT),
        (State.MISSING, Outcome.REJECTED, True, State.CONFLICT),
        (State.MISSING, Outcome.NOT_SENT, True, State.CONFLICT),
        (State.MISSING, Outcome.REJECTED, False, State.FAILED),
    ],
)
def test_reports_that_contradict_each_other_or_the_outcome_are_a_conflict(
    state: State, outcome: Outcome, *, is_success: bool, after: State
) -> None:
    assert state_after(state, outcome, is_success=is_success) is after


def read(query: str) -> Callback:
    return Callback.read(parse_qsl(query, keep_blank_values=True), raw_query=query)


def test_a_callback_is_cut_to_what_an_index_holds_and_its_query_is_not() -> None:
    callback = read(f"ref=+R%00{'x' * 999}&rescore=+00+&rescoreref={'y' * 999}")
    assert (len(callback.reference), callback.reference[:2]) == (255, "R\ufffd")
    assert callback.is_success
    assert len(callback.result_reference) == 255
    assert len(callback.raw_query) > 2000


@pytest.mark.parametrize(
    "result",
    ["", " ", "0", "000", "00%00", "00%0051", "51&rescore=00", "00&rescore=51", "-", "5 1", "\u0665\u0661", "x" * 21],
)
def test_what_is_no_code_is_neither_success_nor_failure(result: str) -> None:
    callback = read(f"ref=R&rescore={result}")
    assert not callback.is_readable
    assert not callback.is_success


@pytest.mark.parametrize("query", ["rescore=51", "rescore=+51", "rescore=RC-51", "rescore=51&rescore=51", "rescore=A"])
def test_any_other_code_is_a_failure(query: str) -> None:
    callback = read(query)
    assert callback.is_readable
    assert not callback.is_success


def test_a_report_on_two_references_is_on_neither() -> None:
    assert read("ref=R1&ref=R2&rescore=51").reference == "R1,R2"
