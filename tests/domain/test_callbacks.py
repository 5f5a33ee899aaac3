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


def test_a_callback_is_cut_to_what_an_index_holds_and_its_query_is_not() -> None:
    query = {"ref": " R\0" + "x" * 999, "rescore": " 00 ", "rescoreref": "y" * 999}
    callback = Callback.read(query, raw_query="q" * 5000)
    assert (len(callback.reference), callback.reference[:2]) == (255, "R\ufffd")
    assert callback.is_success
    assert len(callback.result_reference) == 255
    assert len(callback.raw_query) == 5000


def test_without_a_result_a_callback_is_neither_success_nor_failure() -> None:
    assert not Callback.read({"ref": "R", "rescore": " "}, raw_query="").is_readable
