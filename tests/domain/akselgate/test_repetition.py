"""Words of a refusal, both ways: those that may hide a payment, and those that say that nothing was taken."""

from typing import Any

import pytest

from gateway_words import NOT_TAKEN, SEEN_BEFORE
from qrtrack.domain.akselgate.repetition import says_repetition


def refused(text: str) -> dict[str, Any]:
    return {"responseCode": "99", "responseMessage": text}


@pytest.mark.parametrize("text", SEEN_BEFORE)
def test_a_refusal_that_speaks_of_an_earlier_request_says_repetition(text: str) -> None:
    assert says_repetition("99", refused(text), is_refusal=True)


@pytest.mark.parametrize("text", NOT_TAKEN)
def test_a_refusal_that_denies_it_or_speaks_of_something_else_does_not(text: str) -> None:
    assert not says_repetition("99", refused(text), is_refusal=True)


@pytest.mark.parametrize("code", ["94", "094", " 94 ", "94.0", "409", "4091801", "4090000", "A94", "E94"])
def test_a_code_says_repetition(code: str) -> None:
    assert says_repetition(code, {}, is_refusal=True)
    assert says_repetition(code, {}, is_refusal=False)


@pytest.mark.parametrize("code", [None, "", "00", "14", "940", "194", "140900"])
def test_another_code_does_not(code: str | None) -> None:
    assert not says_repetition(code, {}, is_refusal=True)


@pytest.mark.parametrize(
    "answer",
    [
        {"message": "Bad request", "errors": [{"detail": "reference already used"}]},
        {"message": "Bad request", "data": {"rows": [{"duplicate": True}]}},
        {"message": {"id": "Transaksi ganda", "en": "refused"}},
        {"message": "no", "code": "94"},
        {"message": "no", "rc": "RC94"},
        {"message": "no", "rc": "\u0669\u0664"},
        {"message": "no", "status": 409},
        {"message": "no", "code": "409-18-01"},
        {"message": "no", "isDuplicate": 1},
        {"message": "no", "isDuplicate": "true"},
        {"message": "no", "alreadyProcessed": {"requestId": "9"}},
        {"message": "no", "duplicateReferences": ["A1"]},
        {"message": "no", "errors": {"requestId": {"unique": "1"}}},
    ],
)
def test_it_is_found_wherever_the_gateway_says_it(answer: dict[str, Any]) -> None:
    assert says_repetition("99", answer, is_refusal=True)
    assert not says_repetition("99", {"message": "no", "duplicate": False, "processed": 0}, is_refusal=True)


def test_nesting_of_any_depth_is_read() -> None:
    answer: dict[str, Any] = {"message": "sudah ada"}
    for _ in range(50_000):
        answer = {"cause": answer}
    assert says_repetition(None, answer, is_refusal=True)


@pytest.mark.parametrize(
    "text", ["Transaksi telah diterima", "Request has been processed", "Sudah diterima", "金を受け取りました"]
)
def test_a_success_may_say_that_something_has_happened(text: str) -> None:
    assert not says_repetition("00", refused(text), is_refusal=False)


@pytest.mark.parametrize("text", ["Duplicate request", "Already exists", "Transaksi ganda", "duplikat"])
def test_a_success_that_names_a_repetition_is_none(text: str) -> None:
    assert says_repetition("00", refused(text), is_refusal=False)
