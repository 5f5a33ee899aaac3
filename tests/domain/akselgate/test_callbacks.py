from urllib.parse import parse_qsl

import pytest

from qrtrack.domain.akselgate.attempts import AttemptOutcome
from qrtrack.domain.akselgate.callbacks import Callback, CallbackTokens, UnknownCallback, state_after
from qrtrack.domain.akselgate.callbacks import CallbackState as State
from qrtrack.settings import Settings

TOKENS = CallbackTokens("a secret")
FAILURES = Settings(_env_file=None).akselgate_failures


def test_a_token_belongs_to_one_attempt() -> None:
    token = TOKENS.token_of(17)
    assert TOKENS.attempt_of(token) == 17
    assert token.removeprefix("17") not in TOKENS.token_of(18)


@pytest.mark.parametrize(
    "token",
    ["", "17", "17-", "x", TOKENS.token_of(17).replace("17-", "18-"), TOKENS.token_of(17) + "0", "٣-a", "9" * 30,
     CallbackTokens("another").token_of(17), "17-\ud800é"],
)  # fmt: skip
def test_a_wrong_token_is_refused(token: str) -> None:
    with pytest.raises(UnknownCallback):
        TOKENS.attempt_of(token)


@pytest.mark.parametrize(
    ("state", "outcome", "reported", "after"),
    [
        (State.MISSING, AttemptOutcome.ACCEPTED, State.OK, State.OK),
        (State.MISSING, AttemptOutcome.SENDING, State.FAILED, State.FAILED),
        (State.OK, AttemptOutcome.ACCEPTED, State.OK, State.OK),
        (State.FAILED, AttemptOutcome.ACCEPTED, State.FAILED, State.FAILED),
        (State.FAILED, AttemptOutcome.ACCEPTED, State.OK, State.CONFLICT),
        (State.OK, AttemptOutcome.ACCEPTED, State.FAILED, State.CONFLICT),
        (State.CONFLICT, AttemptOutcome.ACCEPTED, State.OK, State.CONFLICT),
        (State.MISSING, AttemptOutcome.REJECTED, State.OK, State.CONFLICT),
        (State.MISSING, AttemptOutcome.NOT_SENT, State.OK, State.CONFLICT),
        (State.MISSING, AttemptOutcome.REJECTED, State.FAILED, State.FAILED),
    ],
)
def test_reports_that_contradict_each_other_or_the_outcome_are_a_conflict(
    state: State, outcome: AttemptOutcome, reported: State, after: State
) -> None:
    assert state_after(state, outcome, reported) is after


def read(query: str) -> Callback:
    return Callback.read(parse_qsl(query, keep_blank_values=True), raw_query=query)


def test_fields_of_a_callback_are_cut_for_the_index_and_the_query_is_stored_whole() -> None:
    callback = read(f"ref=+R%00{'x' * 999}&rescore=+00+&rescoreref={'y' * 999}")
    assert (len(callback.reference), callback.reference[:2]) == (255, "R\ufffd")
    assert callback.state(FAILURES) is State.OK
    assert len(callback.result_reference) == 255
    assert len(callback.raw_query) > 2000


@pytest.mark.parametrize(
    "result",
    [
        "", " ", "0", "000", "0.0", "00.0", "0x00", "OO", "O0", "0O", "00%00", "00%0051", "51&rescore=00",
        "00&rescore=51", "-", "5 1", "\u0665\u0661", "\uff10\uff10", "x" * 21, "SUCCESS", "OK", "PAID", "true", "null",
        "PENDING", "undefined", "RC-51", "A", "051", "51.0", "200", "1", "-1", "99", "10", "08", "11",
        "09", "68", "91", "94", "96",
    ],
)  # fmt: skip
def test_a_result_that_is_neither_00_nor_a_listed_failure_has_no_state(result: str) -> None:
    assert read(f"ref=R&rescore={result}").state(FAILURES) is None


@pytest.mark.parametrize("query", ["rescore=51", "rescore=+51", "rescore=51+", "rescore=51&rescore=51", "rescore=05"])
def test_a_listed_code_is_a_failure(query: str) -> None:
    assert read(query).state(FAILURES) is State.FAILED


def test_the_failure_codes_are_those_of_the_specification() -> None:
    assert (
        frozenset(
            [
                "05",
                "12",
                "13",
                "14",
                "30",
                "51",
                "52",
                "53",
                "54",
                "55",
                "57",
                "58",
                "61",
                "62",
                "65",
                "75",
                "76",
                "77",
                "78",
            ]
        )
        == FAILURES
    )


def test_a_callback_with_two_references_matches_neither() -> None:
    assert read("ref=R1&ref=R2&rescore=51").reference == "R1,R2"
